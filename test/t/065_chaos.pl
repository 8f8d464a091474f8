# Through the API and beside it: many sessions count actions with savepoints, errors and rollbacks while players are frozen,
# banned, hidden and brought back, while what counts towards what is changed, the rank trees are built anew all the time, and once
# more over a kill -9.
# Afterwards scoreboard_verify() finds nothing: scores, log, lists, trees and published documents agree.
# A simpler test can't show it, since each of these alone is right long before all of them together are.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $players = 60;
my $node = new_node('chaos', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
EOT
create_database($node, 'game');
$node->safe_psql('game', q{
	INSERT INTO scoreboard.board (board_id, name, score_order, operator, ties, publish_interval_ms) VALUES
		(2, 'best', 'low', 'best', 'first', 10), (3, 'latest', 'high', 'latest', 'shared', 10);
	INSERT INTO scoreboard.board (board_id, name, publish_interval_ms, counts_towards) VALUES (4, 'region', 10, '{1,2}');
	INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('ANY', 'trusted', -1000, 1000);
	-- What is refused (a suspended player, a value below the lowest score) is a rolled-back subtransaction here.
	CREATE FUNCTION count_action(who int, what int, where_to int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM scoreboard_increment_for('c' || who, 'ANY', 'a' || what, (ARRAY['global', 'best', 'latest', 'region', 'region'])[where_to], what % 300 - 40);
		IF what % 7 = 0 THEN RAISE EXCEPTION 'after all not'; END IF;
	EXCEPTION WHEN OTHERS THEN
		IF SQLSTATE IN ('40P01', '40001') THEN RAISE; END IF;
	END
	$$;
	CREATE FUNCTION judge(who int, how int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		CASE how
			WHEN 1 THEN PERFORM scoreboard_freeze('c' || who);
			WHEN 2 THEN PERFORM scoreboard_ban('c' || who);
			WHEN 3 THEN PERFORM scoreboard_hide('c' || who);
			WHEN 4 THEN PERFORM scoreboard_hide('c' || who, false);
			ELSE PERFORM scoreboard_restore('c' || who);
		END CASE;
	EXCEPTION WHEN OTHERS THEN
		IF SQLSTATE IN ('40P01', '40001') THEN RAISE; END IF;
	END
	$$});

my %scripts = (
	counted => q{SELECT count_action(:p, :a, :b);},
	savepoints => q{BEGIN;
SELECT count_action(:p, :a, :b);
SAVEPOINT s;
SELECT count_action(:p, :a + 1, :b);
SELECT count_action(:p, :a + 2, 1);
ROLLBACK TO s;
SELECT count_action(:p, :a + 3, :b);
COMMIT;},
	rolled_back => q{BEGIN;
SELECT count_action(:p, :a, :b);
ROLLBACK;},
	judged => q{SELECT judge(:p, :how);},
	rerouted => q{UPDATE scoreboard.board SET counts_towards = CASE WHEN :how > 4 THEN '{1,2,3}'::integer[] ELSE '{2,1}' END WHERE name = 'region';});
my $directory = PostgreSQL::Test::Utils::tempdir;
foreach my $name (keys %scripts)
{
	append_to_file("$directory/$name", "\\set p random(1, $players)\n\\set a random(1, 1000000000)\n\\set b random(1, 5)\n"
		  . "\\set how random(1, 8)\n$scripts{$name}\n");
}

# Eight sessions, so many transactions each; deadlocks between two of them are tried again.
sub start_writers
{
	my ($transactions) = @_;

	return IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', $transactions, '--max-tries=100', '-d', $node->connstr('game'),
			map { ('-f', "$directory/$_->[0]\@$_->[1]") } [ counted => 6 ], [ savepoints => 3 ], [ rolled_back => 2 ], [ judged => 1 ], [ rerouted => 1 ] ],
		'<', '/dev/null', '>', "$directory/output", '2>&1');
}

sub agrees
{
	my ($name) = @_;

	wait_until($node, 'game', "bool_and(rank_state = 'ready') FROM scoreboard_stats()", 'all trees are ready');
	is($node->safe_psql('game', 'SET client_min_messages = warning; SELECT * FROM scoreboard_verify()'), '', "$name: nothing differs");
	is($node->safe_psql('game', q{
		SELECT count(*) FROM scoreboard.board b, LATERAL scoreboard.rank_check(b.board_id, 1) wrong WHERE wrong IS NOT NULL}),
		0, "$name: the trees are sound");
	return;
}

my $writers = start_writers(600);
my $rebuilds = 0;
while ($writers->pumpable)
{
	# An ALTER of the table marks every tree for a build.
	$node->safe_psql('game', 'ALTER TABLE scoreboard.score SET (fillfactor = 70)');
	$rebuilds++;
	eval { $writers->pump_nb };	# dies if they have come to their end since
	usleep(50_000);
}
ok($writers->finish, 'all writers came to their end');
cmp_ok($rebuilds, '>', 1, 'the trees were built anew meanwhile');
cmp_ok($node->safe_psql('game', 'SELECT count(*) FROM scoreboard.action'), '>', 100, 'actions were counted');
is($node->safe_psql('game', 'SELECT count(*) > 10 FROM scoreboard.credit GROUP BY board_id ORDER BY board_id'), "t\nt\nt", 'towards further boards too');
agrees('after the writers');

$writers = start_writers(100000);
my $before = $node->safe_psql('game', 'SELECT count(*) FROM scoreboard.action');
wait_until($node, 'game', "count(*) > $before + 300 FROM scoreboard.action", 'actions are counted again');
kill_and_start($node);
$writers->finish;
agrees('after kill -9');

$node->stop;
done_testing();
