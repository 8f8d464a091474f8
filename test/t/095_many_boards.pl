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

# A name: of all lists those are made anew that show it. The server's statistics say how many players' names were read; the publisher tells
# after a look at some list, not more than once a second.
sub names_read
{
	my $publisher = q{FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher'};

	wait_until($node, $db, "(SELECT state = 'idle' AND state_change < clock_timestamp() - interval '1.5 s' $publisher)", 'the publisher rests');
	my $since = sql(q{UPDATE scoreboard.board SET title = title WHERE name = 'global' RETURNING clock_timestamp()});
	wait_until($node, $db, "(SELECT state = 'idle' AND state_change > '$since' $publisher)", 'it has looked at a list, and told');
	return sql(q{SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relid = 'scoreboard.player'::regclass});
}
sub shows { return qq{(SELECT count(*) FROM scoreboard.top WHERE strpos(document, '"displayName":"$_[0]"') > 0)}; }
my $standing = sql(q{SELECT count(*) FROM scoreboard.top WHERE strpos(document, '"userId":"p8"') > 0});
my $read = names_read();
cmp_ok($standing, '<', 20, 'a player stands in a few lists of many');
sql(q{SELECT scoreboard_set_profile('p8', 'renamed')});
wait_until($node, $db, shows('renamed') . " = $standing", 'a new name stands in every list of the player');
cmp_ok(names_read() - $read, '<', $boards, 'and no other list was looked at for it');

# Names that change all the time hold up no list, and none of them is lost. Somebody else's, of a transaction that was rolled back, never shows.
sql('CREATE TABLE enough ()');
my $renames = start_child(sub {
	exec 'psql', '-Xqd', $node->connstr($db), '-c', q{DO $$ DECLARE n integer := 0; BEGIN WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'enough_of_it') LOOP
		n := n + 1; PERFORM scoreboard_set_profile('p' || 1 + n % 3000, 'name ' || n); COMMIT; END LOOP; END $$};
});
sql(q{BEGIN; SELECT scoreboard_set_profile('p22', 'never'); ROLLBACK});
sql(q{BEGIN; SAVEPOINT s; SELECT scoreboard_set_profile('p22', 'never'); ROLLBACK TO s; SELECT scoreboard_set_profile('p23', 'by the savepoint'); COMMIT}) for 1 .. 3;
sql(q{UPDATE scoreboard.score SET score = 1000000 WHERE board_id = 1500 AND player_id = (SELECT max(player_id) FROM scoreboard.score WHERE board_id = 1500)});
wait_until($node, $db, q{(SELECT document LIKE '%"score":1000000%' FROM scoreboard.top JOIN scoreboard.board ON board = name WHERE board_id = 1500)}, 'a list is published while names change all the time');
sql('ALTER TABLE enough RENAME TO enough_of_it');
waitpid($renames, 0);
is($?, 0, 'all of them did');
wait_until($node, $db, q{NOT EXISTS (SELECT FROM scoreboard.top t, json_array_elements(t.document::json -> 'entries') e JOIN scoreboard.player p ON p.user_id = e ->> 'userId'
	WHERE e ->> 'displayName' <> coalesce(p.display_name, 'Player ' || p.player_id))}, 'each list shows the names that are');

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
