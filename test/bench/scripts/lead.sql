\set n random(1, 10)
SELECT scoreboard_increment_for(bench.user_id(:n), 'LEAD', gen_random_uuid()::text, points => 1);
