# A midnight, in time zones whose days begin in a few seconds: movement counts from then on, in a new version, by itself; a daily board's players move from
# the order in which the day before ended. Who was away at midnight notes the ranks when it comes back, and when that was. A crash keeps what was noted.
# Who sits on a row of the table, or of the board, holds up no list; a standby that takes over goes on from what was noted.
# Needs a midnight, restarts, a standby, and sessions that hold on to what they have.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('movement', streaming => 1, conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

# A zone of our own in which the next day begins so many seconds from now. Settings don't take it, since the server has no such name.
sub zone_of_midnight_in
{
	my ($seconds) = @_;
	my $behind = (time() + $seconds) % 86400;	# of UTC, from -12 to 12 hours

	$behind -= 86400 if $behind > 43200;
	return sprintf('<T>%s%02d:%02d:%02d', $behind < 0 ? '-' : '+', int(abs($behind) / 3600), int(abs($behind) / 60) % 60, abs($behind) % 60);
}

sub make_board
{
	my ($name, $period, $movement, $seconds) = @_;
	my $zone = zone_of_midnight_in($seconds);

	sql(qq{ALTER TABLE scoreboard.board DISABLE TRIGGER check_settings;
		INSERT INTO scoreboard.board (name, period, movement, time_zone, publish_interval_ms) VALUES ('$name', '$period', '$movement', '$zone', 10);
		ALTER TABLE scoreboard.board ENABLE ALWAYS TRIGGER check_settings});
	return;
}

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

	wait_until($node, $db, "coalesce((SELECT string_agg(concat_ws(' ', e ->> 'userId', coalesce(e ->> 'movement', 'null')), ', ' ORDER BY n)
		FROM json_array_elements(t.document::json -> 'entries') WITH ORDINALITY x (e, n)), 'nobody') = '$list' FROM scoreboard.top t WHERE board = '$board'", $what);
	pass($what);
	return version($node, $db, $board);
}
sql(q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('WIN', 'trusted', 0, 10000000)});


make_board('alltime', 'forever', 'day', 15);
make_board('daily', 'day', 'season', 15);
foreach my $board ('alltime', 'daily')
{
	score($board, 'ann', 30);
	score($board, 'bob', 20);
	score($board, 'cid', 10);
	score($board, 'cid', 15);
}
wait_until($node, $db, q{(SELECT document LIKE '%cid%' FROM scoreboard.top WHERE board = 'alltime')}, 'all have their places');
my $version = version($node, $db, 'alltime');
my $midnight = q{(SELECT (scoreboard.calendar_day(time_zone, now())).day_begins FROM scoreboard.board WHERE name = 'alltime')};
my $noted = q{(SELECT stands_for FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = 'alltime')};
wait_until($node, $db, "$noted = $midnight", 'the day that runs is noted');
my $yesterday = sql("SELECT $noted");
wait_until($node, $db, "$noted > '$yesterday'", 'midnight is noted by itself');
wait_for_movement('alltime', 'ann 0, cid 0, bob 0', 'nobody has moved today');
cmp_ok(version($node, $db, 'alltime'), '>', $version, 'in a new version');
is(sql(qq{SELECT captured_at BETWEEN stands_for AND stands_for + interval '5 seconds' FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = 'alltime'}), 't', 'noted as it was at midnight');
score('alltime', 'bob', 100);
wait_for_movement('alltime', 'bob 2, ann -1, cid -1', 'from then on they move');

wait_for_movement('daily', 'nobody', 'the daily board is empty');
score('daily', 'bob', 2);
score('daily', 'eve', 1);
wait_for_movement('daily', 'bob 2, eve null', 'who scores moves from where it ended the day before');

# What was noted stays; who was away at midnight notes what is there when it comes.
kill_and_start($node);
wait_for_movement('alltime', 'bob 2, ann -1, cid -1', 'a crash forgets no movement');
is(sql(q{UPDATE scoreboard.baseline SET stands_for = stands_for - interval '1 day', captured_at = captured_at - interval '1 day' WHERE movement = 'day' RETURNING movement}), 'day', 'as if that had been yesterday');
$node->restart;
wait_for_movement('alltime', 'bob 0, ann 0, cid 0', 'a start notes what it missed');
is(sql("SELECT captured_at > stands_for AND stands_for = $midnight FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = 'alltime'"), 't', 'and when');

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
wait_for_movement('daily', 'eve null, bob 1', 'and on another board');
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

# A standby tells it too; promoted, it goes on from what was noted, and notes the next day.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
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
