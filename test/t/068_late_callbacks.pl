# A commit is visible a moment before its session has entered it into the rank trees. What others do in that moment: verify a tree,
# build one, have one built anew while it is verified, ask for friends' ranks. Nothing comes into a tree twice or not at all,
# and nothing is found where nothing is wrong.
#
# The moment is made long: the transaction has changed rows of very many boards that have no tree, through which its session
# goes for each of them before it comes to the board that is looked at. A round in which it was over too soon is repeated.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('late');
create_database($node, 'game');
sub sql { return $node->safe_psql('game', $_[0]); }

sql(q{
	INSERT INTO scoreboard.board (board_id, name) VALUES (2, 'two');
	INSERT INTO scoreboard.player (player_id, user_id) SELECT n, 'p' || n FROM generate_series(1, 100) n;
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT 2, 1, n, n, now() FROM generate_series(1, 100) n;
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT 100000 + n % 1500, 1, n, 0, now() FROM generate_series(1, 40000) n;
	CREATE TABLE round (n int PRIMARY KEY);
	CREATE PROCEDURE await_round(n int) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM round r WHERE r.n = await_round.n) LOOP
			PERFORM pg_sleep(0.001);
		END LOOP;
	END $$;
	CREATE PROCEDURE await_tree(board_id int) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE (scoreboard.rank_state(board_id, 1)).state <> 'ready' LOOP
			PERFORM pg_sleep(0.001);
		END LOOP;
	END $$;
	-- Until a session that locks nothing else of ours has come into the table
	CREATE PROCEDURE await_lock(session int) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM pg_locks WHERE pid = session AND relation = 'scoreboard.score'::regclass) LOOP
			PERFORM pg_sleep(0.001);
		END LOOP;
	END $$});

my $watcher = $node->background_psql('game');
my $second = $node->background_psql('game');
my $round = 0;

# As soon as a transaction with this change is visible, one session does this and a second one that. What the first one answers, if
# its MOMENT came before the transaction's session was at its end. ROUND is another number each time.
sub meanwhile
{
	my (@statements) = @_;

	foreach (1 .. 20)
	{
		$round++;
		my ($change, $watch, $beside) = map { s/\bROUND\b/$round/gr =~ s/\bMOMENT\b/SELECT 'moment ' || extract(epoch FROM clock_timestamp())/r } @statements;
		$watcher->query_until(qr/ready/, "\\echo ready\nCALL await_round($round);\n$watch;\n\\echo done\n");
		$second->query_until(qr/ready/, "\\echo ready\nCALL await_round($round);\n$beside;\n\\echo done\n");
		my $end = sql(qq{BEGIN; UPDATE scoreboard.score SET score = score + 1 WHERE board_id >= 100000; $change; INSERT INTO round VALUES ($round); COMMIT;
			SELECT extract(epoch FROM clock_timestamp())});
		my ($answer) = $watcher->query_until(qr/done/, '') =~ /^(.*)\ndone/s;
		$second->query_until(qr/done/, '');
		my ($moment) = $answer =~ /^moment (.*)$/m;
		$answer =~ s/^moment.*$//m;
		$answer =~ s/^\s+|\s+$//g;
		note(sprintf('round %d: %.0f ms before the end', $round, 1000 * ($end - $moment)));
		return $answer if $moment < $end;
	}
	return 'the moment was over too soon, 20 times';
}

sub agrees
{
	my ($board_id, $name) = @_;

	$watcher->query_safe("CALL await_tree($board_id)");
	is(sql("SELECT scoreboard.rank_verify($board_id, 1), unsettled FROM scoreboard.rank_state($board_id, 1)"), 't|0', "$name: afterwards the tree has what the table has");
	return;
}

agrees(2, 'at first');

is(meanwhile(q{UPDATE scoreboard.player SET hidden = true WHERE user_id = 'p' || ROUND},
		q{SELECT string_agg(user_id, ' ') FROM scoreboard_ranks(ARRAY['p100', 'p' || ROUND], 'two'); MOMENT}, ''),
	'p100', 'who is hidden is no friend, though the list has it');

my $change = 'UPDATE scoreboard.score SET score = score + 1 WHERE board_id = 2 AND player_id > 50';
is(meanwhile($change, 'MOMENT; SELECT scoreboard.rank_verify(2, 1)', ''), 't', 'no difference is found: what is on its way belongs to the tree');
agrees(2, 'verified');

is(meanwhile($change, 'SELECT scoreboard.rank_verify(2, 1); MOMENT',
		'CALL await_lock(' . $watcher->query_safe('SELECT pg_backend_pid()') . '); ALTER TABLE scoreboard.score SET (fillfactor = 70)'),
	't', 'no difference is found in a tree that is built anew meanwhile');
agrees(2, 'verified and built anew');

is(meanwhile('INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) VALUES (100 + ROUND, 1, 1, 1, now())',
		q{INSERT INTO scoreboard.board (board_id, name) VALUES (100 + ROUND, 'built-' || ROUND); CALL await_tree(100 + ROUND); MOMENT}, ''),
	'', 'a tree is built from a table that has it already');
agrees(100 + $round, 'built');

$watcher->quit;
$second->quit;
$node->stop;
done_testing();
