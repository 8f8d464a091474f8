# What a view says never disagrees with itself while others count: each player that stands in several places of it has one rank and one score,
# next, percentile and players are those of its list. Needs many sessions that write. No time is measured.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('views', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nfsync = off\n");
create_database($node, 'game');
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
sub sql { return $node->safe_psql('game', $_[0]); }

sql(q{INSERT INTO scoreboard.board (name, ties, score_order) VALUES ('first', 'first', 'high'), ('shared', 'shared', 'high'), ('low', 'first', 'low');
	SELECT count(scoreboard_increment_for('p' || n, 'AWARD', board, board, n)) FROM generate_series(1, 30) n, unnest(ARRAY['first', 'shared', 'low']) AS board;
	SELECT sign.wait_for_ranks()});

# The judge: the whole list stands in the view, so everything else of it can be told from there.
sql(q{
CREATE FUNCTION judge(board text, own text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	v jsonb := public.scoreboard_view(board, 30, 3, (SELECT array_agg('p' || n) FROM generate_series(1, 30) n), own);
	mine jsonb := v -> 'own';
BEGIN
	RETURN (SELECT concat_ws(', ',
		CASE WHEN (v ->> 'players')::int <> 30 OR jsonb_array_length(v -> 'entries') <> 30 THEN 'players' END,
		(SELECT 'a player at two places' FROM jsonb_array_elements((v -> 'neighbours') || (v -> 'friends')) f
			WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(v -> 'entries') e WHERE e = f) LIMIT 1),
		(SELECT 'own' WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(v -> 'entries') e WHERE e = mine - 'percentile')),
		(SELECT 'percentile' FROM jsonb_array_elements(v -> 'entries') e
			HAVING round(100.0 * count(*) FILTER (WHERE CASE WHEN board = 'low' THEN e -> 'score' > mine -> 'score' ELSE e -> 'score' < mine -> 'score' END) / 30, 6) <> round((mine ->> 'percentile')::numeric, 6)),
		(SELECT 'next' WHERE CASE WHEN mine ->> 'rank' = '1' THEN v -> 'next' <> 'null' ELSE (v -> 'next') - 'missing' <> (v -> 'entries') -> ((mine ->> 'rank')::int - 2) END),
		(SELECT 'missing' WHERE (v -> 'next' ->> 'missing')::bigint <> abs((v -> 'next' ->> 'score')::bigint - (mine ->> 'score')::bigint)),
		(SELECT 'order' FROM (SELECT e, lag(e) OVER (ORDER BY n) AS before FROM jsonb_array_elements(v -> 'entries') WITH ORDINALITY AS t (e, n)) AS l
			WHERE (e -> 'rank') < (before -> 'rank') OR CASE WHEN board = 'low' THEN e -> 'score' < before -> 'score' ELSE e -> 'score' > before -> 'score' END LIMIT 1)));
END
$$});

my $script = $node->basedir . '/count';
append_to_file($script, qq{\\set n random(1, 30)\n\\set a random(1, 1000000000000)\n\\set p random(1, 3)\n}
	. qq{SELECT scoreboard_increment_for('p' || :n, 'AWARD', 'c' || :a, (ARRAY['first', 'shared', 'low'])[:a % 3 + 1], points => :p);\n});
my $counter = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-t', 1000000, '-f', $script, $node->connstr('game') ], '<', '/dev/null', '>', "$script.out", '2>', "$script.err");
wait_until($node, 'game', 'count(*) > 200 FROM scoreboard.action', 'others count');
is(sql(q{SELECT string_agg(DISTINCT judge(board, 'p' || n % 30 + 1), '; ') FROM unnest(ARRAY['first', 'shared', 'low']) AS board, generate_series(1, 300) n}), '', 'nothing in them disagrees');
my $counted = sql('SELECT count(*) FROM scoreboard.action');
wait_until($node, 'game', "count(*) > $counted FROM scoreboard.action", 'the others are still counting');
$counter->kill_kill;

$node->stop;
done_testing();
