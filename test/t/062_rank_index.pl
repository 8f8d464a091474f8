# The rank index follows the table, whoever writes and whatever happens meanwhile. Many sessions write at once
# (direct SQL, savepoints, rollbacks) while the trees are built anew again and again; each tree must have
# exactly what the table has. Needs concurrency, a crash and two databases.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use ScoreboardTest;

my $node = new_node('main', conf => "max_prepared_transactions = 2\nscoreboard.rank_memory = '4MB'\nscoreboard.rank_wait = '10s'\n");
my $db = 'game';

sub make_functions
{
	my ($database) = @_;

	$node->safe_psql($database, q{
		-- The extension's own, as they are, but for the time when it is gone as well
		DO $$ BEGIN EXECUTE (SELECT string_agg(replace(pg_get_functiondef(p.oid), 'scoreboard.' || p.proname, 'public.' || p.proname), ';') FROM pg_proc p
			WHERE p.pronamespace = 'scoreboard'::regnamespace AND p.proname IN ('rank_state', 'rank_verify', 'rank_check')); END $$;
		-- What decides between equal scores before player_id does
		CREATE FUNCTION tie(ties text, subscore bigint, reached_at timestamptz) RETURNS numeric LANGUAGE sql AS $$
			SELECT CASE ties WHEN 'subscore high' THEN coalesce(-subscore, 1e18) WHEN 'subscore low' THEN coalesce(subscore, 1e18) ELSE extract(epoch FROM reached_at) END $$});
	return;
}

sub sql { return $node->safe_psql($db, $_[0]); }

sub wait_for_state
{
	my ($state, $boards) = @_;

	wait_until($node, $db, "(SELECT bool_and(r.state = '$state') FROM unnest(ARRAY[$boards]) b, rank_state(b, 1) r)", "boards $boards: $state");
	return;
}

# Contents, structure and order; only where the tree answers.
sub follows
{
	my ($name) = @_;

	wait_for_state('ready', '1, 2, 3, 4, 5');
	is(sql(q{SELECT b, rank_verify(b, 1), rank_check(b, 1), (rank_state(b, 1)).unsettled FROM generate_series(1, 5) b}),
		"1|t||0\n2|t||0\n3|t||0\n4|t||0\n5|t||0", "$name: the trees have what the table has");
	is(sql(q{
		SELECT count(*) FROM scoreboard.board b,
			LATERAL (SELECT row_number() OVER (ORDER BY o, tie(b.ties, s.subscore, s.reached_at), s.player_id) n, rank() OVER (ORDER BY o) shared, s.score, s.reached_at
				FROM scoreboard.score s, LATERAL (SELECT CASE b.score_order WHEN 'low' THEN s.score ELSE -s.score END) x (o)
				WHERE s.board_id = b.board_id AND s.listed) truth
			LEFT JOIN LATERAL (SELECT row_number() OVER () n, t.* FROM scoreboard_top(b.name, 1000) t) top USING (n)
		WHERE n <= 1000 AND (CASE b.ties WHEN 'shared' THEN shared ELSE n END, truth.score, truth.reached_at)
			IS DISTINCT FROM (top.rank, top.score, top.reached_at)}),
		0, "$name: in the same order");
	return;
}

create_database($node, $db);
make_functions($db);
sql(q{
	INSERT INTO scoreboard.board (board_id, name, score_order, ties) VALUES (2, 'low', 'low', 'first'), (3, 'shared', 'high', 'shared'),
		(4, 'sub', 'high', 'subscore high'), (5, 'sublow', 'low', 'subscore low');
	INSERT INTO scoreboard.player (player_id, user_id) SELECT i, 'p' || i FROM generate_series(1, 300000) i;
	INSERT INTO scoreboard.score SELECT b, 1, i, i % 40, '2026-01-01', i % 9 > 0, nullif(i * 7 % 11 - 5, 0) FROM generate_series(1, 5) b, generate_series(1, 300) i});
follows('a first load');

# What one session can do
sql(q{
	BEGIN;
	UPDATE scoreboard.score SET score = score + 1 WHERE player_id < 20;
	UPDATE scoreboard.score SET subscore = -subscore, detail = 'noted' WHERE player_id BETWEEN 10 AND 40;
	SAVEPOINT a; DELETE FROM scoreboard.score WHERE player_id < 50;
	SAVEPOINT b; UPDATE scoreboard.score SET listed = NOT listed; RELEASE b;
	ROLLBACK TO a; UPDATE scoreboard.score SET score = 7 WHERE player_id = 30;
	SAVEPOINT c; DELETE FROM scoreboard.score WHERE player_id = 31; RELEASE c;
	COMMIT;
	BEGIN; DELETE FROM scoreboard.score; ROLLBACK;
	SET session_replication_role = replica;
	UPDATE scoreboard.score SET score = score + 2 WHERE player_id BETWEEN 100 AND 120});
follows('savepoints, a rollback, a replica');
my ($status, undef, $error) = $node->psql($db, q{BEGIN; UPDATE scoreboard.score SET score = 1 WHERE player_id = 1; PREPARE TRANSACTION 'x'});
like($error, qr/cannot PREPARE a transaction that has changed boards, scores or players of scoreboard/, 'PREPARE TRANSACTION is refused');
is($node->psql($db, q{BEGIN; SELECT count(*) FROM scoreboard.score; PREPARE TRANSACTION 'y'}), 0, 'but not where nothing was changed');
sql(q{ROLLBACK PREPARED 'y'});
sql(q{INSERT INTO scoreboard.score SELECT 1, 1, i, i, now() FROM generate_series(1001, 120000) i});
follows('more changes than are noted');
sql(q{BEGIN; DELETE FROM scoreboard.score WHERE player_id > 1000; ROLLBACK; DELETE FROM scoreboard.score WHERE player_id > 1000});
follows('and back');
sql(q{BEGIN; UPDATE scoreboard.score SET score = 1 WHERE player_id = 5; TRUNCATE scoreboard.score;
	INSERT INTO scoreboard.score SELECT b, 1, i, i % 40, '2026-01-01', i % 9 > 0, nullif(i * 7 % 11 - 5, 0) FROM generate_series(1, 5) b, generate_series(1, 200) i; COMMIT});
follows('TRUNCATE between writes');
sql('ALTER TABLE scoreboard.score ALTER COLUMN listed TYPE boolean USING NOT listed');
follows('a rewrite that changes values');

# A trigger that is off
sql('ALTER TABLE scoreboard.score DISABLE TRIGGER changed');
wait_for_state('untracked', '1, 2, 3, 4, 5');
sql('UPDATE scoreboard.score SET score = score + 100 WHERE player_id = 9');
is(sql(q{SELECT user_id, score FROM scoreboard_top('global', 1)}), 'p9|109', 'without the trigger the table is asked');
sql('ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed');
follows('with the trigger again');

# Ranks that increments answer, against what the table says right afterwards
sql(q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('MOVE', 'trusted', -100, 100)});
sql(q{ALTER DATABASE game SET scoreboard.rate_limit = 0; ALTER DATABASE game SET scoreboard.burst_limit = 0});
my $calls = '';
for my $i (1 .. 150)
{
	my ($user, $board) = ('p' . ($i * 7 % 30 + 1), (qw(global low shared sub sublow))[ $i % 5 ]);

	$calls .= sprintf("SELECT rank FROM scoreboard_increment_for('$user', 'MOVE', 'a$i', '$board', points => %d, subscore => nullif(%d, 0)) \\gset\n",
		$i % 4 ? $i * 37 % 41 - 15 : 0, $i * 11 % 7 - 3)
	  . "SELECT :rank = r.rank OR '$board $user :rank' IS NULL FROM (SELECT p.user_id, CASE b.ties WHEN 'shared' THEN rank() OVER (ORDER BY o)"
	  . " ELSE row_number() OVER (ORDER BY o, tie(b.ties, subscore, reached_at), player_id) END AS rank FROM scoreboard.score s JOIN scoreboard.board b USING (board_id)"
	  . " JOIN scoreboard.player p USING (player_id), LATERAL (SELECT CASE b.score_order WHEN 'low' THEN s.score ELSE -s.score END) x (o)"
	  . " WHERE b.name = '$board' AND listed) r WHERE user_id = '$user';\n";
}
my %answers;
$answers{$_}++ foreach split /\n/, sql("UPDATE scoreboard.score SET listed = true;\n$calls");
is_deeply(\%answers, { t => 150 }, 'increments answer the rank that the player has then');

# Everybody at once, while the trees are built anew
my @scripts;
foreach my $script (
	'INSERT INTO scoreboard.score AS s VALUES (:b, 1, :p, :n, clock_timestamp()) ON CONFLICT (board_id, season, player_id) DO UPDATE SET score = s.score + :n, reached_at = clock_timestamp()',
	'UPDATE scoreboard.score SET score = score + 1 WHERE board_id = :b AND season = 1 AND player_id = :p',
	'UPDATE scoreboard.score SET listed = NOT listed WHERE board_id = :b AND season = 1 AND player_id = :p',
	'UPDATE scoreboard.score SET subscore = nullif(:n - 10, 0), detail = :n WHERE board_id = :b AND season = 1 AND player_id = :p',
	'DELETE FROM scoreboard.score WHERE board_id = :b AND season = 1 AND player_id = :p',
	"BEGIN;\nUPDATE scoreboard.score SET score = score + 3 WHERE board_id = :b AND season = 1 AND player_id BETWEEN :p AND :p + 5;\nSAVEPOINT a;\n"
	  . "DELETE FROM scoreboard.score WHERE board_id = :b AND season = 1 AND player_id BETWEEN :p AND :p + 3;\nROLLBACK TO a;\n"
	  . "UPDATE scoreboard.score SET score = :n WHERE board_id = :b AND season = 1 AND player_id = :p;\nCOMMIT",
	"BEGIN;\nUPDATE scoreboard.score SET score = score - 1 WHERE board_id = :b AND season = 1 AND player_id = :p;\nROLLBACK")
{
	my $file = $node->basedir . '/script' . scalar(@scripts);

	append_to_file($file, "\\set b random(1, 5)\n\\set p random(1, 150)\n\\set n random(0, 20)\n$script;\n");
	push @scripts, '-f', $file;
}
my ($out, $err) = ('', '');
my $writers = IPC::Run::start(
	[ 'pgbench', '-n', '-c', 8, '-j', 2, '-T', 8, '--max-tries', 100, '-h', $node->host, '-p', $node->port, @scripts, $db ], '>', \$out, '2>', \$err);
my ($agreed, $differed) = (0, 0);
for (my $end = time + 7; time < $end;)
{
	sql('ALTER TABLE scoreboard.score SET (fillfactor = 70)');
	sql(q{UPDATE scoreboard.board SET ties = CASE ties WHEN 'subscore high' THEN 'subscore low' WHEN 'subscore low' THEN 'first' ELSE 'subscore high' END WHERE board_id > 3});
	wait_for_state('ready', '1, 2, 3, 4, 5');
	foreach my $answer (split /\n/, sql('SELECT rank_verify(b, 1) FROM generate_series(1, 5) b, generate_series(1, 3)'))
	{
		$agreed++ if $answer eq 't';
		$differed++ if $answer eq 'f';
	}
}
$writers->finish;
is($differed, 0, "while everybody writes, built trees have what the table has");
cmp_ok($agreed, '>', 0, "(compared $agreed times)");
sql(q{UPDATE scoreboard.board SET ties = CASE board_id WHEN 4 THEN 'subscore high' ELSE 'subscore low' END WHERE board_id > 3});
follows('when all have come to rest');

# What readers are told by the index and, without it, by counting
sql(q{CREATE FUNCTION answers() RETURNS TABLE (board text, question text, answer text) LANGUAGE sql AS $$
	SELECT b.name, 'top ' || skip, string_agg(t::text, ' ' ORDER BY t::text) FROM scoreboard.board b, unnest(ARRAY[0, 3, 47]) AS skip, scoreboard_top(b.name, 60, skip) t GROUP BY 1, 2
	UNION ALL SELECT b.name, 'rank ' || p.user_id, scoreboard_rank(p.user_id, b.name)::text
		FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id) WHERE s.listed
	UNION ALL SELECT b.name, 'around ' || p.user_id, (SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM scoreboard_around(p.user_id, b.name, 2) t)
		FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id) WHERE s.listed AND p.player_id % 5 = 0
	UNION ALL SELECT b.name, 'ranks', (SELECT string_agg(t::text, ' ' ORDER BY n) FROM scoreboard_ranks(ARRAY(SELECT 'p' || i FROM generate_series(1, 200) i), b.name) WITH ORDINALITY t (rank, user_id, name, avatar, score, reached, n))
		FROM scoreboard.board b $$});
sql('CREATE TABLE by_index AS SELECT * FROM answers()');
sql('ALTER TABLE scoreboard.score DISABLE TRIGGER changed');
wait_for_state('untracked', '1, 2, 3, 4, 5');
sql('CREATE TABLE by_counting AS SELECT * FROM answers()');
sql('ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed');
is(sql(q{SELECT * FROM by_index FULL JOIN by_counting c USING (board, question) WHERE by_index.answer IS DISTINCT FROM c.answer ORDER BY 1, 2 LIMIT 3}), '', 'counting by SQL answers what the index answered');
cmp_ok(sql('SELECT count(*) FROM by_index'), '>', 400, '(many questions)');
follows('and with the index again');

kill_and_start($node);
follows('after a crash');

# Memory: one board too many players; the others go on, and it comes back when there is room.
sql(q{INSERT INTO scoreboard.score SELECT 2, 1, i, i, now() FROM generate_series(100001, 300000) i});
wait_for_state('full', '2');
like(slurp_file($node->logfile), qr/scoreboard has no memory for the ranks of 1 boards/, 'memory that is full is logged');
is(sql(q{SELECT state FROM unnest(ARRAY[1, 3, 4, 5]) b, rank_state(b, 1)}), "ready\nready\nready\nready", 'other boards keep their trees');
sql(q{INSERT INTO scoreboard.score VALUES (2, 1, 900, -500, now())});
is(sql(q{SELECT user_id FROM scoreboard_top('low', 1)}), 'p900', 'on that board writers go on, and readers count');
sql(q{DELETE FROM scoreboard.score WHERE player_id > 1000});
follows('with room again');

# What goes, goes: half of the memory is enough again and again.
foreach my $name ('one', 'two', 'three')
{
	create_database($node, $name);
	make_functions($name);
	$node->safe_psql($name, q{INSERT INTO scoreboard.score SELECT 1, 1, i, i, now() FROM generate_series(1, 80000) i});
	wait_until($node, $name, q{EXISTS (SELECT FROM rank_state(1, 1) WHERE state = 'ready' AND players = 80000)}, "database $name has its tree");
	is($node->safe_psql($name, q{SELECT state FROM rank_state(1, 1)}), 'ready', "database $name finds room: one that was dropped leaves no tree behind");
	$node->safe_psql('postgres', "DROP DATABASE $name");
}
sql(q{INSERT INTO scoreboard.board (board_id, name) VALUES (6, 'short')});
sql(q{SELECT count(*) FROM scoreboard_top('short')});
wait_for_state('ready', '6');
sql(q{DELETE FROM scoreboard.board WHERE board_id = 6});
is(sql('SELECT state FROM rank_state(6, 1)'), 'none', 'a removed board leaves nothing');

# More changes than are noted, and a board's other name, in one transaction: versions belong to names. The board is published
# once an hour, so that no new version hides what was forgotten.
sql(q{INSERT INTO scoreboard.board (board_id, name, publish_interval_ms) VALUES (7, 'hourly', 3600000)});
wait_for_version($node, $db, 'hourly', 1);
wait_for_state('ready', '7');
sql(q{SELECT scoreboard_increment_for('p1', 'MOVE', 'version', 'hourly', points => 1)});

# Only renamed, and the publisher is kept from saying the new name's version.
my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; LOCK TABLE scoreboard.top IN SHARE MODE');
sql(q{UPDATE scoreboard.board SET name = 'elsewhere' WHERE board_id = 7});
is(sql(q{SELECT version FROM scoreboard_increment_for('p1', 'MOVE', 'version elsewhere', 'elsewhere', points => 1)}), 0, 'a board by another name has not the version of its old name');
$holder->query_safe('COMMIT');
$holder->quit;
sql(q{UPDATE scoreboard.board SET name = 'hourly' WHERE board_id = 7});

my $many = 'INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT 1, 1, i, i, now() FROM generate_series(1001, 60000) i;'
  . ' DELETE FROM scoreboard.score WHERE player_id > 1000';
foreach my $case ([ 'before', "UPDATE scoreboard.board SET name = 'renamed' WHERE board_id = 7; $many" ],
	[ 'after', "$many; UPDATE scoreboard.board SET name = 'hourly' WHERE board_id = 7" ],
	[ 'in a savepoint', "SAVEPOINT a; UPDATE scoreboard.board SET name = 'renamed' WHERE board_id = 7; RELEASE a; SAVEPOINT b; $many; ROLLBACK TO b" ])
{
	my ($name, $statements) = @$case;

	sql("UPDATE scoreboard.top SET version = version + 1000 WHERE board IN ('hourly', 'renamed')");
	sql("BEGIN; $statements; COMMIT");
	wait_for_state('ready', '1, 2, 3, 7');
	# The publisher may publish at any moment of it.
	my $stored = q{SELECT coalesce(max(version), 0) FROM scoreboard.top JOIN scoreboard.board ON name = board WHERE board_id = 7};
	my ($before, $told, $after) = split(/\n/, sql(qq{$stored; SELECT i.version FROM scoreboard.board b, scoreboard_increment_for('p1', 'MOVE', 'version $name', b.name, points => 1) i WHERE board_id = 7; $stored}));
	ok($told >= $before && $told <= $after, "renamed $name more changes than are noted: the version is the name's") or diag("$told, stored were $before and $after");
}
follows('a board with another name');

# All boards at once, and back: their scores are still there.
sql('CREATE TABLE kept AS TABLE scoreboard.board');
sql('TRUNCATE scoreboard.board CASCADE');
is(sql('SELECT DISTINCT state FROM generate_series(1, 7) b, rank_state(b, 1)'), 'none', 'nor do boards removed by TRUNCATE');
sql('INSERT INTO scoreboard.board TABLE kept');
sql('SELECT count(*) FROM scoreboard.board, scoreboard_top(name)');
follows('boards that came back');
sql('BEGIN; TRUNCATE scoreboard.board CASCADE; INSERT INTO scoreboard.board TABLE kept; COMMIT');
sql('SELECT count(*) FROM scoreboard.board, scoreboard_top(name)');
follows('boards that were gone within a transaction');
sql(qq{BEGIN; $many; TRUNCATE scoreboard.board CASCADE; COMMIT});
is(sql('SELECT DISTINCT state FROM generate_series(1, 7) b, rank_state(b, 1)'), 'none', 'nor with more changes than are noted');

sql(qq{BEGIN; DROP EXTENSION scoreboard; COMMIT});
is(sql('SELECT state FROM rank_state(1, 1)'), 'none', 'nor does a dropped extension');
sql('CREATE EXTENSION scoreboard');
wait_for_state('ready', '1');
is(sql('SELECT players FROM rank_state(1, 1)'), 0, 'a new one begins anew');

$node->stop;
done_testing();
