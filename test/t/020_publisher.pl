# A list is published when it changed, once for all the commits of an interval, with the next version and a
# notification; what did not change is not published; one bad board harms no other.
# Needs the background worker, sessions that listen, and settings of a whole server.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

# Defaults that an administrator may set for sessions must not stop the publisher; ours override them.
$ENV{PGOPTIONS} =
  '-c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed';
my $node = new_node('publisher', conf => <<'EOT');
synchronous_commit = off
default_transaction_read_only = on
default_transaction_isolation = 'serializable'
lock_timeout = 1
EOT
my $db = 'game';
create_database($node, $db);

# A second board of which we only want to know that the publisher had a turn after something else.
my $marks = 0;
$node->safe_psql($db,
	q{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('mark', 10)});

sub publisher_had_a_turn
{
	$marks++;
	add_score($node, $db, 'mark', 'mark', $marks);
	wait_for_list($node, $db, 'mark', $marks);
	return;
}

# The first publications
my $version = version($node, $db, 'global');
cmp_ok(wait_for_list($node, $db, 'mark', ''), '>', 0, 'a new board publishes its empty list');
my $now = $node->safe_psql($db, 'SELECT (extract(epoch FROM now()) * 1000)::bigint');
cmp_ok(abs($now - $version), '<', 3_600_000, 'the first version is the clock in milliseconds');

# Changes
add_score($node, $db, 'global', 'anna', 10);
is(wait_for_list($node, $db, 'global', '10'), $version + 1, 'a change is the next version');
is($node->safe_psql($db,
		q{SELECT players || ' ' || (document::json ->> 'players') || ' ' || (document::json ->> 'version' = version::text)
		  FROM scoreboard.top WHERE board = 'global'}),
	'1 1 true', 'columns and document agree');
# Looked at in the same turn as the other board, which is published: as soon may be as that, and marked before.
$node->safe_psql($db, q{UPDATE scoreboard.board SET publish_interval_ms = 10 WHERE name = 'global'});
foreach my $touch (
	q{UPDATE scoreboard.score SET score = score WHERE board_id = 1},
	q{UPDATE scoreboard.board SET title = title WHERE name = 'global'},
	q{UPDATE scoreboard.player SET display_name = display_name},
	q{INSERT INTO scoreboard.player (user_id) VALUES ('nobody'); UPDATE scoreboard.player SET display_name = 'Nobody' WHERE user_id = 'nobody'})
{
	publisher_had_a_turn();
	$node->safe_psql($db, $touch);
	publisher_had_a_turn();
	is(version($node, $db, 'global'), $version + 1, "what does not change the list is not published: $touch");
}
$node->safe_psql($db, q{UPDATE scoreboard.player SET display_name = 'Anna' WHERE user_id = 'anna'});
is(wait_for_version($node, $db, 'global', $version + 2), $version + 2, "a player's new name is published");

# Notifications
my ($notified) = (
	$node->safe_psql($db,
		q{LISTEN scoreboard; UPDATE scoreboard.score SET score = 11 WHERE board_id = 1;
		  DO $$BEGIN
			LOOP
				EXIT WHEN (SELECT version FROM scoreboard.top WHERE board = 'global') > } . ($version + 2) . q{;
				PERFORM pg_sleep(0.01);
			END LOOP;
		  END$$;
		  SELECT 1;})) =~ /(Asynchronous notification.*)/;
like($notified // '', qr/"scoreboard" with payload "\{"board":"global","version":@{[ $version + 3 ]}\}"/,
	'a notification names board and version');

# One publication for many commits
$version = $version + 3;
$node->safe_psql($db, q{UPDATE scoreboard.board SET publish_interval_ms = 3600000 WHERE name = 'global'});
publisher_had_a_turn();
add_score($node, $db, 'global', 'anna', 12);
publisher_had_a_turn();
my $before = version($node, $db, 'global');
foreach my $score (13 .. 40)
{
	add_score($node, $db, 'global', 'anna', $score);
}
publisher_had_a_turn();
is(version($node, $db, 'global'), $before, 'nothing is published before the interval is over');
$node->safe_psql($db, q{UPDATE scoreboard.board SET publish_interval_ms = 10 WHERE name = 'global'});
is(wait_for_list($node, $db, 'global', '40'), $version + 1, 'then once for all commits');

# A stored document that somebody damaged is published anew, whichever end of it.
foreach my $damage (q{document || ' '}, q{document || document}, q{left(document, -1)}, q{replace(document, '"entries":', '"entry":')})
{
	publisher_had_a_turn();
	$node->safe_psql($db, qq{UPDATE scoreboard.top SET document = $damage WHERE board = 'global'; UPDATE scoreboard.board SET title = title WHERE name = 'global'});
	$version++;
	is(wait_for_version($node, $db, 'global', $version + 1), $version + 1, "a stored document that became $damage is published anew");
}
is(wait_for_list($node, $db, 'global', '40'), $version + 1, 'and is as it was');

# A table that is rewritten while the publisher waits for it is not empty.
foreach my $case ([ 'player', 41 ], [ 'board', 40 ])
{
	my ($table, $score) = @$case;
	my $rewriter = $node->background_psql($db);

	publisher_had_a_turn();
	$rewriter->query_safe("BEGIN; ALTER TABLE scoreboard.$table ADD COLUMN own uuid DEFAULT gen_random_uuid()");
	$node->safe_psql($db, "UPDATE scoreboard.score SET score = $score WHERE board_id = 1");
	wait_until($node, $db, q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND wait_event_type = 'Lock')}, 'the publisher waits');
	$rewriter->query_safe('COMMIT');
	$version++;
	is(wait_for_list($node, $db, 'global', $score), $version + 1, "the list is published after a rewrite of $table");
	$rewriter->query_safe("ALTER TABLE scoreboard.$table DROP COLUMN own");
	$rewriter->quit;
}

# Boards that go and come
my $old = version($node, $db, 'mark');
$node->safe_psql($db, q{DELETE FROM scoreboard.score WHERE board_id <> 1; DELETE FROM scoreboard.board WHERE name = 'mark'});
$node->safe_psql($db, q{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('mark', 10)});
cmp_ok(wait_for_list($node, $db, 'mark', ''), '>', $old, 'a board that was made again is newer than its old self');
$node->safe_psql($db, q{UPDATE scoreboard.board SET name = 'renamed' WHERE name = 'mark'});
wait_for_list($node, $db, 'renamed', '');
$node->safe_psql($db, q{UPDATE scoreboard.board SET name = 'mark' WHERE name = 'renamed'});
publisher_had_a_turn();
cmp_ok(version($node, $db, 'mark'), '>', $old, 'a board is published under its new name');

# A board that can't be published: its table of stored documents refuses it.
$node->safe_psql($db, q{ALTER TABLE scoreboard.top ADD CONSTRAINT poison CHECK (board <> 'global' OR players < 2)});
my $offset = -s $node->logfile;
add_score($node, $db, 'global', 'ben', 5);
$node->wait_for_log(qr/publishing scoreboard "global"/, $offset);
publisher_had_a_turn();
is(version($node, $db, 'global'), $version + 1, 'another board is published while one fails');
$node->safe_psql($db, 'ALTER TABLE scoreboard.top DROP CONSTRAINT poison');
is(wait_for_list($node, $db, 'global', '40 5'), $version + 2, 'the failing board is tried again');

# Nothing can be read: a board that nobody knew before is not forgotten.
my $pid = publisher_pid($node, $db);
$offset = -s $node->logfile;
$node->safe_psql($db, q{BEGIN; INSERT INTO scoreboard.board (name, top_size, publish_interval_ms) VALUES ('two', 2, 10); ALTER TABLE scoreboard.board RENAME COLUMN top_size TO away; COMMIT});
$node->wait_for_log(qr/publishing scoreboards\b/, $offset);
$node->safe_psql($db, 'ALTER TABLE scoreboard.board RENAME COLUMN away TO top_size');
cmp_ok(wait_for_list($node, $db, 'two', ''), '>', 0, 'a board that came while nothing could be read is published');
is(publisher_pid($node, $db), $pid, 'by the same publisher');

# The last place of a list is part of it: who takes it, who leaves it, who stands just behind.
add_score($node, $db, 'two', $_->[0], $_->[1]) foreach ([ 'a', 30 ], [ 'b', 20 ], [ 'c', 10 ]);
$version = wait_for_list($node, $db, 'two', '30 20');
foreach my $step ([ 'b', 21, '30 21' ], [ 'c', 22, '30 22' ], [ 'c', 5, '30 21' ], [ 'b', 4, '30 5' ], [ 'd', 6, '30 6' ])
{
	add_score($node, $db, 'two', $step->[0], $step->[1]);
	cmp_ok(wait_for_list($node, $db, 'two', $step->[2]), '>', $version, "$step->[0] with $step->[1]: the list is $step->[2]");
}
$node->safe_psql($db, q{UPDATE scoreboard.player SET hidden = true WHERE user_id = 'd'});
cmp_ok(wait_for_list($node, $db, 'two', '30 5'), '>', $version, 'the last of the list is hidden');
$node->safe_psql($db, q{UPDATE scoreboard.player SET display_name = 'Cyd' WHERE user_id = 'c'});
wait_until($node, $db, q{EXISTS (SELECT FROM scoreboard.top t WHERE t.board = 'two' AND t.document::json -> 'entries' -> 1 ->> 'displayName' = 'Cyd')}, 'the last of the list has its name');

# Ranks that take long to build hold up their own board's list and nobody else's. The table is too large to be read by the
# publisher itself, and a new process of the database is kept from beginning for as long as we like.
$node->safe_psql($db, q{
	INSERT INTO scoreboard.board (board_id, name, publish_interval_ms) VALUES (500, 'large', 10);
	INSERT INTO scoreboard.player (player_id, user_id) SELECT n, 'p' || n FROM generate_series(1000001, 1090000) n});
$node->safe_psql($db, q{INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
	SELECT 500, 1, n, 1, now() FROM generate_series(1000001, 1090000) n});
cmp_ok($node->safe_psql($db, q{SELECT pg_relation_size('scoreboard.score') / 8192}), '>', 1000, 'the table is large');
wait_until($node, $db, q{EXISTS (SELECT FROM scoreboard.top WHERE board = 'large' AND players = 90000)}, 'the large board is published');
my $options = $ENV{PGOPTIONS};
$ENV{PGOPTIONS} .= ' -c post_auth_delay=0';
$node->append_conf('postgresql.conf', 'post_auth_delay = 2000');
$node->reload;
$node->safe_psql($db, q{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('built', 10)});
foreach my $name ('Anne', 'Annie')
{
	$version = version($node, $db, 'global');
	$node->safe_psql($db, qq{UPDATE scoreboard.player SET display_name = '$name' WHERE user_id = 'anna'});
	is(wait_for_version($node, $db, 'global', $version + 1), $version + 1, 'while ranks are being built another list is published');
	is($node->safe_psql($db, q{SELECT document::json -> 'entries' -> 0 ->> 'displayName' FROM scoreboard.top WHERE board = 'global'}),
		$name, 'as it is now');
}
is(version($node, $db, 'built'), '', 'the list whose ranks are missing is not');
# The delay ends with the server only: its processes are deaf meanwhile.
$node->append_conf('postgresql.conf', 'post_auth_delay = 0');
$node->stop('immediate');
$node->start;
$ENV{PGOPTIONS} = $options;
wait_for_list($node, $db, 'built', '');
is($node->safe_psql($db, q{SELECT document::json ->> 'board' FROM scoreboard.top WHERE board = 'built'}), 'built', 'but afterwards');

# What a failed cycle took it has again: a board that came while none could be read. Of two failures the second began after it.
$node->safe_psql($db, 'ALTER TABLE scoreboard.top RENAME TO away');
$offset = -s $node->logfile;
$node->safe_psql($db, q{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('late', 10)});
foreach (1 .. 2)
{
	$node->wait_for_log(qr/publishing scoreboards/, $offset);
	$offset = -s $node->logfile;
}
$node->safe_psql($db, 'ALTER TABLE scoreboard.away RENAME TO top');
wait_for_list($node, $db, 'late', '');
is($node->safe_psql($db, q{SELECT document::json ->> 'board' FROM scoreboard.top WHERE board = 'late'}), 'late', 'a board that was made while publishing failed is published');

$node->stop;
done_testing();
