# What a list shows beside a score belongs to that score, in every version that is published while many sessions move
# them; and when they have come to rest, it shows all of it. Needs the background worker and concurrency.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('details', conf => "synchronous_commit = off\n");
my $db = 'game';
create_database($node, $db);

# Each score names itself in subscore and detail.
$node->safe_psql($db, q{
	INSERT INTO scoreboard.board (board_id, name, publish_interval_ms, ties, top_size) VALUES (2, 'first', 10, 'first', 100), (3, 'subscore', 10, 'subscore high', 100);
	INSERT INTO scoreboard.player (player_id, user_id) SELECT i, 'p' || i FROM generate_series(1, 100) i;
	INSERT INTO scoreboard.score SELECT b, 1, i, i, now(), true, i, 'of ' || i FROM generate_series(2, 3) b, generate_series(1, 100) i;
	CREATE TABLE seen (board text, document text);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (NEW.board, NEW.document); RETURN NULL; END $$;
	CREATE TRIGGER see AFTER INSERT OR UPDATE ON scoreboard.top FOR EACH ROW EXECUTE FUNCTION see();
	CREATE VIEW entry AS SELECT s.board, lag((e ->> 'score')::bigint) OVER (PARTITION BY s.document ORDER BY n) AS before, (e ->> 'score')::bigint AS score, (e ->> 'subscore')::bigint AS subscore, e ->> 'detail' AS detail
		FROM seen s, json_array_elements(s.document::json -> 'entries') WITH ORDINALITY x (e, n)});
my $script = $node->basedir . '/move.sql';
append_to_file($script, <<'EOT');
\set p random(1, 100)
UPDATE scoreboard.score SET score = score + 1, reached_at = clock_timestamp(), subscore = score + 1, detail = 'of ' || score + 1 WHERE player_id = :p;
EOT
my $offset = -s $node->logfile;
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 2000, '--max-tries', 1000, '-f', $script, $db ], 'many sessions move all that is shown');
unlike(slurp_file($node->logfile, $offset), qr/publishing scoreboard "/, 'every cycle went through');
is($node->safe_psql($db, q{SELECT * FROM entry WHERE subscore <> score OR detail <> 'of ' || score LIMIT 3}), '', 'nothing stands beside another score');
is($node->safe_psql($db, q{SELECT * FROM entry WHERE before < score LIMIT 3}), '', 'every list is in order');
is($node->safe_psql($db, q{SELECT board, count(*) > 50, count(DISTINCT detail) > 50 FROM entry WHERE board <> 'global' GROUP BY board ORDER BY board}), "first|t|t\nsubscore|t|t", 'and much was seen');
is($node->safe_psql($db, q{SELECT count(*) FROM entry WHERE board = 'subscore' AND subscore IS NULL}), 0, 'a subscore that decides is always there');
my $at_rest = q{(SELECT count(*) FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id) JOIN scoreboard.top t ON t.board = b.name,
	json_array_elements(t.document::json -> 'entries') e WHERE (p.user_id, s.score::text, s.subscore::text, s.detail) = (e ->> 'userId', e ->> 'score', e ->> 'subscore', e ->> 'detail')) = 200};
wait_until($node, $db, $at_rest, 'all is shown');
is($node->safe_psql($db, "SELECT $at_rest"), 't', 'when all have come to rest, all is shown');

$node->stop;
done_testing();
