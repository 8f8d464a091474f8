# Midnights of Berlin, one of them at the end of a day of 25 hours: movement counts from then on, in a new version, by itself; a daily board's players move from
# the order in which the day before ended. A clock that is set back a little leaves no day, one that was days ahead was wrong. Who was away at midnight notes
# the ranks when it comes back, and when that was. A crash keeps what was noted. Who sits on a row of the table, or of the board, holds up no list; a standby
# that takes over goes on from what was noted.
# Needs a server whose clock is set, restarts, a standby, and sessions that hold on to what they have.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FalseClock;
use ScoreboardTest;

set_clock(2026, 10, 24, 21, 0, 0);
my $node = falsely(sub { new_node('movement', streaming => 1, conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n") });
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

my $actions = 0;
sub score
{
	my ($board, $who, $points) = @_;

	$actions++;
	return sql("SELECT score FROM scoreboard_increment_for('$who', 'WIN', 'a$actions', '$board', $points)");
}

sub wait_for_movement
{
	my ($board, $list, $what) = @_;

	my $shown = "(SELECT coalesce((SELECT string_agg(concat_ws(' ', e ->> 'userId', coalesce(e ->> 'movement', 'null')), ', ' ORDER BY n)
		FROM json_array_elements(t.document::json -> 'entries') WITH ORDINALITY x (e, n)), 'nobody') FROM scoreboard.top t WHERE board = '$board')";

	wait_until($node, $db, "$shown = '$list'", $what);
	is(sql("SELECT $shown"), $list, $what);
	return version($node, $db, $board);
}
sql(q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('WIN', 'trusted', 0, 10000000)});

sub noted { my ($board) = @_; return "(SELECT stands_for FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = '$board' ORDER BY season DESC LIMIT 1)"; }

# The publisher, whose sleep the true clock ends, looks at the false one.
sub look { return sql(q{UPDATE scoreboard.board SET title = title || '.'}); }

# ------------------------------------------------------------------------
# Midnights
# ------------------------------------------------------------------------

sql(q{INSERT INTO scoreboard.board (name, period, movement, score_order, operator, ties, time_zone, publish_interval_ms) SELECT b.*, 'Europe/Berlin', 10 FROM (VALUES
	('berlin', 'forever', 'day', 'high', 'sum', 'first'), ('monthly', 'month', 'day', 'high', 'sum', 'first'), ('daily', 'day', 'season', 'high', 'sum', 'first'),
	('race', 'forever', 'day', 'low', 'best', 'first'), ('newest', 'forever', 'day', 'high', 'latest', 'shared'), ('empty', 'forever', 'day', 'high', 'sum', 'first')) AS b});
foreach my $board ('berlin', 'monthly', 'daily', 'race', 'newest')
{
	score($board, 'ann', 30);
	score($board, 'bob', $board eq 'newest' ? 30 : 20);
	score($board, 'cid', 10);
}
wait_until($node, $db, qq{(SELECT document LIKE '%cid%' FROM scoreboard.top WHERE board = '$_')}, "all have their places on $_") foreach 'berlin', 'monthly', 'daily', 'race', 'newest';
wait_until($node, $db, noted('berlin') . q{ = '2026-10-23 22:00:00+00'}, 'the day that runs is noted');
my $version = version($node, $db, 'berlin');
set_clock(2026, 10, 24, 21, 59, 57);
look();
wait_for_movement($_, 'ann 0, bob 0, cid 0', "nobody has moved today on $_") foreach 'berlin', 'monthly', 'newest';
cmp_ok(version($node, $db, 'berlin'), '>', $version, 'in a new version');
is(sql('SELECT ' . noted('berlin')), '2026-10-24 22:00:00+00', 'midnight is noted by itself');
is(sql(q{SELECT captured_at BETWEEN stands_for AND stands_for + interval '1 minute' FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = 'berlin'}), 't', 'noted as it was at midnight');
score('berlin', 'cid', 100);
wait_for_movement('berlin', 'cid 2, ann -1, bob -1', 'from then on they move');
wait_for_movement('race', 'cid 0, bob 0, ann 0', 'nobody has moved where the lowest is the best');
score('race', 'ann', 5);
wait_for_movement('race', 'ann 2, cid -1, bob -1', 'and there they move');
score('newest', 'cid', 30);
wait_for_movement('newest', 'ann 0, bob 0, cid 2', 'to a rank that others share');
score('newest', 'ann', 1);
wait_for_movement('newest', 'bob 0, cid 2, ann -2', 'and from one');
wait_for_movement('daily', 'nobody', 'the daily board is empty');
score('daily', 'bob', 2);
score('daily', 'eve', 1);
wait_for_movement('daily', 'bob 1, eve null', 'who scores moves from where it ended the day before');

# The day of 25 hours
set_clock(2026, 10, 25, 22, 30, 0);
score('berlin', 'bob', 200);
wait_for_movement('berlin', 'bob 1, cid 1, ann -2', 'the 25th hour is of the day');
set_clock(2026, 10, 25, 22, 59, 57);
look();
wait_for_movement('berlin', 'bob 0, cid 0, ann 0', 'then a day begins');
is(sql('SELECT ' . noted('berlin')), '2026-10-25 23:00:00+00', 'at its midnight');

# Set back
set_clock(2026, 10, 25, 22, 50, 0);
score('berlin', 'ann', 1000);
wait_for_movement('berlin', 'ann 2, bob -1, cid -1', 'a clock that is set back leaves no day');
is(sql('SELECT ' . noted('berlin')), '2026-10-25 23:00:00+00', 'nor notes it again');
set_clock(2026, 10, 20, 12, 0, 0);
score('berlin', 'cid', 1);
wait_for_movement('berlin', 'ann 0, bob 0, cid 0', 'one that was days ahead was wrong');
is(sql('SELECT ' . noted('berlin')), '2026-10-19 22:00:00+00', 'and the day that runs is another');

# A board without scores may get another zone, and has its days then.
is(sql('SELECT ' . noted('empty')), '2026-10-25 23:00:00+00', 'a day of Berlin');
sql(q{UPDATE scoreboard.board SET time_zone = 'Pacific/Auckland' WHERE name = 'empty'});
wait_until($node, $db, noted('empty') . q{ = '2026-10-20 11:00:00+00'}, 'the day is one of Auckland');
set_clock(2026, 10, 26, 12, 0, 0);

# ------------------------------------------------------------------------
# Ends of servers
# ------------------------------------------------------------------------

sql(q{INSERT INTO scoreboard.board (name, movement, publish_interval_ms) VALUES ('alltime', 'none', 10)});
score('alltime', 'ann', 30);
score('alltime', 'bob', 20);
score('alltime', 'cid', 25);
wait_until($node, $db, q{(SELECT document LIKE '%bob%' AND document LIKE '%cid%' FROM scoreboard.top WHERE board = 'alltime')}, 'all have their places');
sql(q{UPDATE scoreboard.board SET movement = 'day' WHERE name = 'alltime'});
wait_for_movement('alltime', 'ann 0, cid 0, bob 0', 'counted from now');
score('alltime', 'bob', 100);
wait_for_movement('alltime', 'bob 2, ann -1, cid -1', 'they move');

# What was noted stays; who was away at midnight notes what is there when it comes.
falsely(sub { kill_and_start($node) });
wait_for_movement('alltime', 'bob 2, ann -1, cid -1', 'a crash forgets no movement');
set_clock(2026, 10, 27, 12, 0, 0);
falsely(sub { $node->restart });
wait_for_movement('alltime', 'bob 0, ann 0, cid 0', 'a start notes what it missed');
is(sql("SELECT captured_at > stands_for AND stands_for = '2026-10-27 00:00:00+00' FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = 'alltime'"), 't', 'and when');

# ------------------------------------------------------------------------
# Who holds what
# ------------------------------------------------------------------------

# Who holds the table keeps nobody from being published; what couldn't be noted is noted afterwards.
score('alltime', 'cid', 1000);
wait_for_movement('alltime', 'cid 2, bob -1, ann -1', 'they move');
my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; LOCK TABLE scoreboard.baseline IN SHARE MODE');
score('alltime', 'ann', 10000);
wait_for_movement('alltime', 'ann 1, cid 1, bob -2', 'whoever holds the table');
$holder->query_safe('COMMIT; BEGIN');
$holder->query_safe(q{UPDATE scoreboard.baseline SET stands_for = stands_for - interval '1 day' WHERE movement = 'day'; COMMIT; BEGIN; LOCK TABLE scoreboard.baseline IN SHARE MODE});
score('alltime', 'dan', 1);
wait_for_movement('alltime', 'ann 1, cid 1, bob -2, dan null', 'a day that can\'t be noted is shown as the one before');
$holder->query_safe('COMMIT');
wait_for_movement('alltime', 'ann 0, cid 0, bob 0, dan 0', 'until it can');

# Nor does who has changed the row, or one of the board, or has put one there.
my $yesterdays = q{UPDATE scoreboard.baseline SET stands_for = stands_for - interval '1 day' WHERE movement = 'day'};
my $log = -s $node->logfile;
score('alltime', 'bob', 20000);
wait_for_movement('alltime', 'bob 2, ann -1, cid -1, dan 0', 'they move again');
sql($yesterdays);
$holder->query_safe(q{BEGIN; UPDATE scoreboard.baseline SET captured_at = now() WHERE movement = 'day'});
score('alltime', 'ann', 20000);
score('daily', 'eve', 5);
wait_for_movement('alltime', 'ann 0, bob 1, cid -1, dan 0', 'whoever holds the row');
wait_for_movement('daily', 'eve null', 'and on another board');
like(slurp_file($node->logfile, $log), qr/publishes "alltime" without keeping where its players stand: canceling statement due to lock timeout/, 'the log says so');
$holder->query_safe('COMMIT');
wait_for_movement('alltime', 'ann 0, bob 0, cid 0, dan 0', 'noted once it is free');
ok($node->wait_for_log(qr/keeps versions of lists again, and where players stand/, $log), 'and the log says that');
sql($yesterdays);
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard.board WHERE name = 'alltime' FOR UPDATE});
score('alltime', 'bob', 20000);
wait_for_movement('alltime', 'bob 1, ann -1, cid 0, dan 0', 'whoever has locked the board');
$holder->query_safe('COMMIT');
wait_for_movement('alltime', 'bob 0, ann 0, cid 0, dan 0', 'noted with what it is then');
sql(q{DELETE FROM scoreboard.baseline WHERE movement = 'day'});
$holder->query_safe(q{BEGIN; INSERT INTO scoreboard.baseline SELECT board_id, 1, 'day', now(), now(), '{}', '{}' FROM scoreboard.board WHERE name = 'alltime'});
score('alltime', 'cid', 100000);
wait_for_movement('alltime', 'cid null, bob null, ann null, dan null', 'whoever puts a row there');
$holder->query_safe('ROLLBACK');
wait_for_movement('alltime', 'cid 0, bob 0, ann 0, dan 0', 'noted when it is gone');

# Who is being forgotten while a day begins isn't noted afterwards.
my $dan = sql(q{SELECT player_id FROM scoreboard.player WHERE user_id = 'dan'});
sql($yesterdays);
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard_forget('dan')});
score('alltime', 'ann', 100000);
wait_for_movement('alltime', 'ann 2, cid -1, bob -1, dan 0', 'the list of before it is committed');
$holder->query_safe('COMMIT');
wait_for_movement('alltime', 'ann 0, cid 0, bob 0', 'and of after');
is(sql("SELECT count(*) FROM scoreboard.baseline WHERE $dan = ANY (player_ids)"), 0, 'without a trace');
$holder->quit;

score('alltime', 'bob', 1000000);
wait_for_movement('alltime', 'bob 2, ann -1, cid -1', 'they move on');

# ------------------------------------------------------------------------
# A standby
# ------------------------------------------------------------------------

# It tells it too; promoted, it goes on from what was noted, and notes the next day.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
falsely(sub { $standby->start });
$node->wait_for_catchup($standby);
is($standby->safe_psql($db, q{SELECT string_agg(e ->> 'movement', ' ') FROM json_array_elements(scoreboard_view('alltime') -> 'entries') e}), '2 -1 -1', 'a standby tells it');
$node->stop;
$standby->promote;
$node = $standby;
wait_for_publisher($node, $db);
score('alltime', 'cid', 2000000);
wait_for_movement('alltime', 'cid 1, bob 1, ann -2', 'promoted, it counts from the same moment');
sql($yesterdays);
score('alltime', 'cid', 1);
wait_for_movement('alltime', 'cid 0, bob 0, ann 0', 'and notes the next day');
$node->stop;
done_testing();
