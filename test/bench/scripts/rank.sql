\set i random(1, :players)
SELECT scoreboard_rank('00000000-0000-4000-8000-' || lpad(:i::text, 12, '0'));
