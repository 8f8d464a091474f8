# Many small boards: what each costs, that a restart finds all their ranks, and publishes those first whose lists changed last. Boards of more rows than the index is read for are among them, and more boards than there is memory for.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $boards = 3000;
my $node = new_node('many', conf => "scoreboard.rank_memory = '8MB'\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

sub all_ready
{
	my ($count, $what) = @_;

	wait_until($node, $db, "(SELECT count(*) FROM scoreboard_stats() WHERE rank_state = 'ready') = $count", $what);
	return;
}

sql(qq{
	INSERT INTO scoreboard.player (user_id) SELECT 'p' || n FROM generate_series(1, 3000) n;
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('GO', 'trusted', 1);
	BEGIN;
	SET LOCAL track_functions = 'pl';
	INSERT INTO scoreboard.board (name) SELECT 'b' || n FROM generate_series(2, $boards) n;
	CREATE TABLE called AS SELECT funcname, calls FROM pg_stat_xact_user_functions;
	COMMIT;
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
		SELECT board_id, 1, 1 + (board_id * 7 + k) % 3000, k, now() FROM scoreboard.board, generate_series(1, 10) k WHERE name NOT IN ('b100', 'b200');
	-- More rows than are read by the index; nobody at all.
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, 1, n, n, now() FROM scoreboard.board, generate_series(1, 3000) n WHERE name = 'b100';
	ANALYZE});
is(sql('SELECT string_agg(funcname, chr(32)) FROM called WHERE calls > 9'), '', 'what checks a new board with the settings of most is not interpreted for each');
sql("SELECT count(*) FROM scoreboard.board b, LATERAL (SELECT count(*) FROM scoreboard_top(b.name, 1)) t");
all_ready($boards, 'each board has its ranks');
# What lists them looks at the tables once, not at each board, nor keeps each in mind.
foreach my $function ('scoreboard_boards', 'scoreboard_stats')
{
	my ($listed, $scans) = split /\|/, sql("BEGIN; CREATE TEMP TABLE listed ON COMMIT DROP AS SELECT count(*) AS n FROM $function();
		SELECT n, (SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_xact_all_tables WHERE relid = 'scoreboard.board'::regclass) FROM listed; COMMIT");

	is($listed, $boards, "$function lists all boards");
	cmp_ok($scans, '<', 10, 'by looking at them together');
}
my ($used, $large) = split /\|/, sql(q{SELECT rank_memory_used, (SELECT rank_memory FROM scoreboard_stats() WHERE board = 'b100') FROM scoreboard_server_stats()});
cmp_ok(($used - $large) / $boards, '<=', 1024 - 64, 'a board of ten players costs less than a kilobyte, its entry of the directory among it');

# What the trees say is what the table says: small ones, the large one, those that grow out of their place and shrink again.
sub same_as_table
{
	my ($when) = @_;

	is(sql(q{SELECT string_agg(b.name, ' ') FROM scoreboard.board b WHERE board_id % 50 = 0 AND
		(SELECT array_agg((t.rank, t.user_id, t.score)::text ORDER BY t.rank) FROM scoreboard_top(b.name, 1000) t) IS DISTINCT FROM
		(SELECT array_agg((s.rank, s.user_id, s.score)::text ORDER BY s.rank) FROM (SELECT row_number() OVER (ORDER BY score DESC, reached_at, player_id) AS rank, user_id, score
			FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE board_id = b.board_id AND listed ORDER BY 1 LIMIT 1000) s)}), '', "lists are right $when");
	is(sql(q{SELECT v.* FROM scoreboard.board b, scoreboard_verify(b.name) v WHERE b.board_id % 150 = 100 AND v.finding <> 'score without an action'}), '', "so says the check $when");
	return;
}
same_as_table('at first');
sql(q{INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, 1, 2900 + n, n, now() FROM scoreboard.board, generate_series(1, 30) n WHERE board_id BETWEEN 300 AND 400});
same_as_table('as some have grown');
sql(q{DELETE FROM scoreboard.score WHERE board_id BETWEEN 300 AND 400 AND player_id > 2905});
same_as_table('as they have shrunk');

# After a restart those come first whose lists changed last.
wait_until($node, $db, "(SELECT count(*) FROM scoreboard.top) = $boards", 'all are published');
sql('CREATE TABLE before AS SELECT board, version, row_number() OVER (ORDER BY updated_at DESC) AS n FROM scoreboard.top');
$node->restart;
wait_until($node, $db, 'NOT EXISTS (SELECT FROM scoreboard.top t JOIN before b USING (board) WHERE t.version = b.version)', 'all are published again');
is(sql(qq{SELECT max(updated_at) FILTER (WHERE n <= 100) < min(updated_at) FILTER (WHERE n > $boards - 100) FROM scoreboard.top JOIN before USING (board)}),
	't', 'the hundred whose lists changed last come before the hundred whose lists are the oldest');
all_ready($boards, 'each has its ranks again');
same_as_table('after a restart');

# Everything is touched: nothing is lost.
sql(q{UPDATE scoreboard.player SET display_name = 'renamed ' || user_id WHERE user_id IN ('p8', 'p15')});
wait_until($node, $db, q{NOT EXISTS (SELECT FROM scoreboard.top WHERE document::text ~ '"userId":"p8","displayName":"Player' OR document::text ~ '"userId":"p15","displayName":"Player')}, 'a new name stands in every list');

# Removed ones leave their places to others; more than there is memory for are counted by SQL.
sql(q{DELETE FROM scoreboard.board WHERE board_id BETWEEN 1000 AND 2000});
sql(q{INSERT INTO scoreboard.board (name) SELECT 'c' || n FROM generate_series(1, 6500) n;
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, 1, 1 + (board_id * 7 + k) % 3000, k, now() FROM scoreboard.board, generate_series(1, 10) k WHERE name LIKE 'c%'});
wait_until($node, $db, q{NOT EXISTS (SELECT FROM scoreboard.board b LEFT JOIN scoreboard.top t ON t.board = b.name WHERE coalesce(t.players, 0) = 0 AND b.name <> 'b200')}, 'all are published');
cmp_ok(sql(q{SELECT count(*) FROM scoreboard_stats() WHERE rank_state <> 'ready'}), '>', 0, 'not all have room for their ranks');
same_as_table('with and without ranks of their own');
my $poor = sql(q{SELECT board FROM scoreboard_stats() WHERE rank_state <> 'ready' AND board LIKE 'c%' LIMIT 1});
is(sql("SELECT rank IS NULL, score FROM scoreboard_increment_for('p2999', 'GO', 'b', '$poor')"), 't|1', 'an increment there answers no rank');
is(sql("SELECT rank FROM scoreboard_top('$poor', 20) WHERE user_id = 'p2999'"), sql(q{SELECT 11}), 'a list counts');
$node->stop;
done_testing();
