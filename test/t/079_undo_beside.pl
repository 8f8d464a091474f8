# An action is taken back beside everything else: writers to several boards, other undos, imports and resets make no deadlock and nothing differs in the end; a
# cancel at any moment and a kill -9 of the server leave an undo made or not made, never half of it; an ended season that somebody holds is
# waited for no longer than moderation waits; what a purge has made unknowable is refused; a restored dump knows what was undone.
# Needs many sessions, a server to kill, and time that has passed.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $db = 'game';
my $node = new_node('undo_beside', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.outbox = on
restart_after_crash = off
deadlock_timeout = 100ms
EOT
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

my $findings = 'SET client_min_messages = error; SELECT board_name, finding, user_id, expected, found FROM scoreboard_verify()';
my $torn = q{SELECT count(*) FROM scoreboard.action a LEFT JOIN scoreboard.credit c USING (player_id, action_id)
	WHERE (a.undone_at IS NULL) <> (c.undone_at IS NULL) AND c.board_id IS NOT NULL
		OR (a.undone_at IS NULL) = EXISTS (SELECT FROM scoreboard.adjustment u WHERE u.kind = 'undo' AND u.player_id = a.player_id AND u.action_id = a.action_id)};

# Each session works on players of its own and of others.
sql(q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('ACT', 'trusted', -100, 100);
	INSERT INTO scoreboard.board (name, operator, lowest_score, period, publish_interval_ms) VALUES ('best', 'best', -100, 'reset', 10), ('latest', 'latest', -100, 'forever', 10);
	INSERT INTO scoreboard.board (name, lowest_score, publish_interval_ms, counts_towards) SELECT 'sum', -50, 10, array_agg(board_id ORDER BY board_id) FROM scoreboard.board WHERE name <> 'sum';
	CREATE SEQUENCE number;
	CREATE TABLE done (player text, id text);});
# Retries what a serialization failure or an increment's own refusal stops; counts deadlocks by letting them through.
sql(q{CREATE FUNCTION undo_one(n bigint) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		who text;
		which text;
	BEGIN
		SELECT p.user_id, a.action_id INTO who, which FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE a.undone_at IS NULL AND p.user_id = 'p' || n LIMIT 1;
		IF who IS NULL THEN RETURN 0; END IF;
		RETURN (SELECT count(*) FROM scoreboard_undo(who, which, 'why'));
	EXCEPTION WHEN sqlstate 'PT400' OR sqlstate 'PT503' THEN
		RETURN -1;		-- somebody else was faster, or a season is held
	END
	$$;});

# ------------------------------------------------------------------------
# Many sessions
# ------------------------------------------------------------------------

my $directory = PostgreSQL::Test::Utils::tempdir;

sub script
{
	my ($name, $text) = @_;

	append_to_file("$directory/$name", $text);
	return "$directory/$name";
}

my @scripts = (
	script('act', q{\set a random(1, 8)
\set points random(-20, 90)
SELECT score FROM scoreboard_increment_for('p' || :a, 'ACT', 'a' || nextval('number'), 'sum', :points, subscore => :points, detail => 'd');
}) . '@10',
	# Two players in a transaction, in any order, as nobody else here
	script('two', q{\set a random(1, 8)
BEGIN;
SELECT undo_one(:a);
SELECT score FROM scoreboard_increment_for('p' || :a, 'ACT', 'a' || nextval('number'), 'best', 5);
COMMIT;
}) . '@3',
	script('undo', q{\set a random(1, 8)
SELECT undo_one(:a);
}) . '@8',
	script('moderate', q{\set a random(1, 8)
SELECT scoreboard_hide('p' || :a), scoreboard_hide('p' || :a, false);
}) . '@1',
	script('reset', q{SELECT season FROM scoreboard_reset_season('best');
}) . '@1',
	script('import', q{SELECT nextval('number') AS n \gset
SELECT players FROM scoreboard_import('latest', ARRAY['i' || :n], '{7}', 'i' || :n);
}) . '@1');
sql(q{SELECT count(scoreboard_increment_for('p' || n, 'ACT', 'first', 'sum', 50)) FROM generate_series(1, 8) AS n});
my ($out, $err) = ('', '');
my $offset = -s $node->logfile;
ok(IPC::Run::run([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 150, (map { ('-f', $_) } @scripts), $node->connstr($db) ], '>', \$out, '2>', \$err), 'everybody comes to the end') or diag($err);
unlike(slurp_file($node->logfile, $offset), qr/deadlock detected|ended the session/, 'without a deadlock, and nobody is ended');
is(sql($torn), 0, 'each undo is whole');
cmp_ok(sql(q{SELECT count(*) FROM scoreboard.action WHERE undone_at IS NOT NULL}), '>', 100, 'many were undone');
is(sql($findings), '', 'nothing differs');

# ------------------------------------------------------------------------
# Cancelled at any moment
# ------------------------------------------------------------------------

sql(q{SELECT count(scoreboard_increment_for('timed', 'ACT', 't' || n, 'sum', n % 90)) FROM generate_series(1, 300) AS n});
my ($cancelled, $made) = (0, 0);
foreach my $n (1 .. 120)
{
	my $timeout = $n == 120 ? 0 : $n;
	my ($status, $output, $errors) = $node->psql($db, "SET statement_timeout = $timeout; SELECT count(*) FROM scoreboard_undo('timed', 't" . (301 - $n) . "', 'why');");

	$cancelled++ if $errors =~ /statement timeout/;
	$made++ if $output =~ /^4$/m;
}
is($cancelled + $made, 120, "$cancelled were cancelled, $made made");
cmp_ok($cancelled, '>', 0, 'some were cancelled');
is(sql($torn), 0, 'each is whole or none');
is(sql(q{SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = 'timed' AND undone_at IS NOT NULL}), $made, 'as many as were answered');
is(sql($findings), '', 'nothing differs after cancels');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

foreach my $kill (1 .. 3)
{
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', 100000, (map { ('-f', $_) } @scripts), $node->connstr($db) ], '<', '/dev/null', '>', \$out, '2>', \$err);
	my $goal = sql('SELECT count(*) FROM scoreboard.adjustment') + 100 + int(rand(200));

	wait_until($node, $db, "count(*) > $goal FROM scoreboard.adjustment", 'some more are undone');
	kill_and_start($node);
	$bench->finish;
	is(sql($torn), 0, "killed: each undo is whole");
	wait_for_publisher($node, $db);
	is(sql($findings), '', 'killed: nothing differs');
}

# ------------------------------------------------------------------------
# A season that somebody holds
# ------------------------------------------------------------------------

sql(q{SELECT score FROM scoreboard_increment_for('held', 'ACT', 'h1', 'best', 40)});
sql(q{SELECT score FROM scoreboard_increment_for('other', 'ACT', 'o1', 'best', 30)});
sql(q{SELECT season FROM scoreboard_reset_season('best')});
my $holder = $node->background_psql($db);
$holder->query_safe(q{BEGIN; SELECT scoreboard_ban('other')});
my ($status, $output, $errors) = $node->psql($db, q{SET scoreboard.moderation_wait = '300ms'; SELECT count(*) FROM scoreboard_undo('held', 'h1', 'why')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($errors, qr/PT503: an open transaction holds up a season that has ended/, 'a held season is UNAVAILABLE');
is(sql(q{SELECT count(*) FROM scoreboard.action WHERE action_id = 'h1' AND undone_at IS NULL}), 1, 'with nothing undone');
$holder->query_safe('ROLLBACK');
is(sql(q{SELECT count(*) FROM scoreboard_undo('held', 'h1', 'why')}), 1, 'later it is');

# ------------------------------------------------------------------------
# A reference that somebody holds
# ------------------------------------------------------------------------

sql(q{SELECT count(scoreboard_increment_for('held', 'ACT', 'h' || n, 'global', 40)) FROM generate_series(2, 3) AS n});
$holder->query_safe(q{BEGIN; SELECT scoreboard_set_retention(reference => 'taken')});
foreach my $call (q{undo('held', 'h2', 'why', 'taken')}, q{adjust('held', 'global', 1, 'why', 'taken')}, q{import('latest', '{new}', '{1}', 'taken')})
{
	($status, $output, $errors) = $node->psql($db, qq{SET scoreboard.moderation_wait = '300ms'; SELECT count(*) FROM scoreboard_$call}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($errors, qr/PT503: an open transaction has just used the reference/, "held: $call");
}
is(sql(q{SELECT applied_points FROM scoreboard_undo('held', 'h2', 'why', 'mine')}), -40, 'under another it is made');
$holder->query_safe('COMMIT');
($status, $output, $errors) = $node->psql($db, q{SELECT count(*) FROM scoreboard_undo('held', 'h3', 'why', 'taken')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($errors, qr/PT422: the reference was used for something else/, 'then it is used');

# ------------------------------------------------------------------------
# What a purge has made unknowable
# ------------------------------------------------------------------------

sql(q{SELECT count(scoreboard_increment_for('old', 'ACT', v.id, v.board, v.points)) FROM (VALUES (1, 'o1', 'best', 10), (2, 'o2', 'best', 60), (3, 'o3', 'best', 40), (4, 's1', 'global', 10), (5, 's2', 'global', 20), (6, 'o4', 'best', 50)) AS v (n, id, board, points)});
sql(q{UPDATE scoreboard.action SET created_at = created_at - interval '60 days' WHERE action_id IN ('o1', 'o2', 'o3', 's1', 's2')});
# The purge leaves a row that somebody has locked, and takes a later one.
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard.action WHERE action_id IN ('o2', 's1') AND created_at < now() - interval '50 days' FOR UPDATE});
sql(q{SELECT scoreboard_set_retention('10 days')});
wait_until($node, $db, 'NOT scoreboard.purge_due()', 'the log was gone over');
sql(q{SELECT scoreboard_set_retention()});
$holder->query_safe('COMMIT');
$holder->quit;
is(sql(q{SELECT string_agg(action_id, ' ' ORDER BY action_id) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = 'old'}), 'o2 o4 s1', 'later actions were purged before an earlier one');
($status, $output, $errors) = $node->psql($db, q{SELECT count(*) FROM scoreboard_undo('old', 'o2', 'why')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($errors, qr/PT400: later actions of the player were purged: what its score on board "best" would be without this one is not known any more.*scoreboard_adjust/s, 'best: refused, with what to do');
is(sql(q{SELECT applied_points FROM scoreboard_undo('old', 's1', 'why')}), -10, 'sum: what it counts for is known');
is(sql(q{SELECT score FROM scoreboard_undo('old', 'o4', 'why')}), 60, 'best: the last one can be taken back');
($status, $output, $errors) = $node->psql($db, q{SELECT count(*) FROM scoreboard_undo('old', 'o1', 'why')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($errors, qr/PT404: there is no such action of the player in the log/, 'a purged one is none');
is(sql($findings), '', 'nothing differs after a purge');

# ------------------------------------------------------------------------
# A dump
# ------------------------------------------------------------------------

sql(q{SELECT score FROM scoreboard_increment_for('dumped', 'ACT', 'd1', 'sum', 10, idempotency_key => 'k')});
my $answer = sql(q{SELECT board, season, previous_score, score, applied_points, undone_at FROM scoreboard_undo('dumped', 'd1', 'why', 'reference')});
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$directory/dump", '-d', $node->connstr($db) ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--single-transaction', '-d', $node->connstr('restored'), "$directory/dump" ], 'restored');
wait_for_version($node, 'restored', 'sum', 1);
is($node->safe_psql('restored', $findings), '', 'restored: nothing differs');
is($node->safe_psql('restored', q{SELECT board, season, previous_score, score, applied_points, undone_at FROM scoreboard_undo('dumped', 'd1', 'why', 'reference') WHERE replayed}), $answer, 'restored: it is known what was undone');
is($node->safe_psql('restored', q{SELECT score FROM scoreboard_increment_for('dumped', 'ACT', 'd1', 'sum', 10, idempotency_key => 'k') WHERE replayed}), 10, 'and what was answered');
is($node->safe_psql('restored', q{SELECT score FROM scoreboard_increment_for('dumped', 'ACT', 'd2', 'sum', 4)}), 4, 'and it goes on from there');

$node->stop;
done_testing();
