# Every night each board is verified by itself: what is found stands in scoreboard_stats() and in the log, and names nobody. A night goes on
# where it was after a restart, is over when all are done, and holds up nobody who wants to change a table.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('nightly', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, "SET client_min_messages = warning; $_[0]"); }
sub stat_is { return "(SELECT ($_[1])::text FROM scoreboard_stats() WHERE board = '$_[0]') = '$_[2]'"; }

# The night has just begun, in the time zone of the database, and with a second in which nothing was verified: that would be of this night.
sub begin_night
{
	wait_until($node, $db, q{(SELECT coalesce(max(began_at), '-infinity') FROM scoreboard.verification) < date_trunc('second', clock_timestamp())}, 'the second is over');
	my $now = sql(q{SELECT to_char(clock_timestamp() AT TIME ZONE 'Asia/Tokyo', 'HH24:MI:SS')});

	sql("ALTER SYSTEM SET scoreboard.verify_at = '$now'");
	$node->reload;
	return;
}

sub change_unseen
{
	sql("BEGIN; ALTER TABLE scoreboard.score DISABLE TRIGGER changed; $_[0]; ALTER TABLE scoreboard.score ENABLE ALWAYS TRIGGER changed; COMMIT");
	wait_until($node, $db, "(SELECT bool_and(rank_state = 'ready') FROM scoreboard_stats())", 'ranks are built');
	return;
}

sql(q{ALTER DATABASE game SET timezone = 'Asia/Tokyo';
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('GO', 'trusted', 5);
	INSERT INTO scoreboard.board (board_id, name) VALUES (2, 'right'), (3, 'wrong'), (4, 'slow')});
$node->restart;					# the workers take the time zone when they connect
foreach my $board ('right', 'wrong', 'slow')
{
	sql("SELECT FROM generate_series(1, 3) n, scoreboard_increment_for('somebody-' || n, 'GO', '$board', '$board')");
	wait_for_list($node, $db, $board, '5 5 5');
}
change_unseen(q{UPDATE scoreboard.score SET score = score + n FROM generate_series(1, 2) n, scoreboard.player p WHERE board_id = 3 AND p.player_id = score.player_id AND user_id = 'somebody-' || n});

# What the setting may be; turned off, or with a night that began long ago, nothing is done.
foreach my $bad ('24:00', '3', '03:60', '03:30x', '03:30:', ' 03:30', '-3:30', '')
{
	my ($status, undef, $stderr) = $node->psql('postgres', "ALTER SYSTEM SET scoreboard.verify_at = '$bad'");

	like($stderr, qr/time of day such as 03:30, or off/, "'$bad' is refused");
}
sql(q{ALTER SYSTEM SET scoreboard.verify_at = 'off'});
is(sql('SELECT count(*), count(verified_at) FROM scoreboard_stats()'), '4|0', 'nothing is verified while it is off');

# A night
my $offset = -s $node->logfile;
begin_night();
wait_until($node, $db, "(SELECT count(verified_at) = 4 FROM scoreboard_stats())", 'each board is verified');
$node->wait_for_log(qr/scoreboard has verified 4 boards by night and found 2 differences/, $offset);
is(sql(q{SELECT board, findings, verify_ms >= 0 FROM scoreboard_stats() ORDER BY 1}), "global|0|t\nright|0|t\nslow|0|t\nwrong|2|t", 'what is broken is found, and nothing else');
is(sql(q{SELECT nightly, season, kinds FROM scoreboard.verification WHERE board_id = 3}), 't|1|{"score differs from the action log": 2}', 'and recorded by its kind');
like(slurp_file($node->logfile, $offset),
	qr/WARNING:  scoreboard "wrong": the nightly check found 2 differences\n[^\n]*DETAIL:  score differs from the action log: 2\.\n[^\n]*HINT:  SELECT \* FROM scoreboard_verify\('wrong'\) says whose/,
	'the log says what was found, and what to do');
unlike(slurp_file($node->logfile, $offset), qr/somebody/, 'and names nobody');
is(sql(q{SELECT count(*) FROM scoreboard.verification v WHERE v::text ~ 'somebody'}), 0, 'nor does the record');
is(sql(q{SELECT string_agg(DISTINCT user_id, ' ' ORDER BY user_id) FROM scoreboard_verify('wrong')}), 'somebody-1 somebody-2', 'the function says whose');

# By hand it is recorded as well, but where nothing can be written.
sql(q{SELECT FROM scoreboard_repair('wrong')});
is(sql(q{BEGIN READ ONLY; SELECT count(*) FROM scoreboard_verify('wrong'); COMMIT}), 0, 'repaired, as a read-only transaction sees, too');
is(sql('SELECT ' . stat_is('wrong', 'findings', 2)), 't', 'which records nothing');
sql(q{SELECT FROM scoreboard_verify('wrong')});
is(sql('SELECT ' . stat_is('wrong', 'findings', 0)), 't', 'a check by hand is the last one');

# A new start finds only what is left.
my $before = sql('SELECT board_id, began_at FROM scoreboard.verification WHERE nightly ORDER BY 1');
sql(q{INSERT INTO scoreboard.board (board_id, name) VALUES (5, 'late')});
$offset = -s $node->logfile;
kill_and_start($node);
$node->wait_for_log(qr/scoreboard has verified 1 boards by night and found 0 differences/, $offset);
is(sql('SELECT ' . stat_is('late', 'findings', 0)), 't', 'a board that was left is verified after a crash');
is(sql('SELECT board_id, began_at FROM scoreboard.verification WHERE nightly AND board_id <> 5 ORDER BY 1'), $before, 'those that were done are not verified again');

# Who was forgotten, and a board that is gone, leave nothing.
sql(q{DELETE FROM scoreboard.board WHERE board_id = 5});
is(sql(q{SELECT count(*) FROM scoreboard.verification WHERE board_id = 5}), 1, 'a board that was removed has its record for a while');
$node->restart;
wait_until($node, $db, 'NOT EXISTS (SELECT FROM scoreboard.verification WHERE board_id = 5)', 'that goes when the publisher looks');

# The next night keeps the last check of each board, and the last that found something.
begin_night();
wait_until($node, $db, "(SELECT count(*) FILTER (WHERE nightly) = 4 AND count(*) FILTER (WHERE findings > 0) = 1 AND count(*) = 5 FROM scoreboard.verification)", 'it takes the place of the last one');
is(sql('SELECT ' . stat_is('wrong', 'findings', 0)), 't', 'in which nothing was found');

# Whoever wants a table for himself waits no longer than a moment for a check that takes long: here for a list that is published late.
sql(q{UPDATE scoreboard.board SET publish_interval_ms = 10000 WHERE name = 'slow'});
wait_until($node, $db, q{(SELECT bool_and(rank_state = 'ready') FROM scoreboard_stats())}, 'all is quiet');
sql(q{SELECT FROM scoreboard_increment_for('somebody-3', 'GO', 'again', 'slow')});
wait_for_list($node, $db, 'slow', '10 5 5');
sql(q{SELECT FROM scoreboard_increment_for('somebody-3', 'GO', 'late', 'slow')});
$offset = -s $node->logfile;
my $checked = sql('SELECT max(began_at) FROM scoreboard.verification WHERE board_id = 4');
begin_night();
wait_until($node, $db, q{EXISTS (SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE a.backend_type = 'scoreboard auditor' AND l.relation = 'scoreboard.score'::regclass)
	AND (SELECT count(*) FROM scoreboard.verification WHERE nightly AND board_id < 4 AND began_at > '} . $checked . q{') = 3}, 'a check waits for a list');
is(sql(q{BEGIN; LOCK TABLE scoreboard.score IN ACCESS EXCLUSIVE MODE; SELECT max(began_at) FROM scoreboard.verification WHERE board_id = 4; COMMIT}), $checked,
	'it gives way to a command that needs the table');
$node->wait_for_log(qr/scoreboard has verified 3 boards by night and found 0 differences\n[^\n]*DETAIL:  1 boards are left: 1 were held up by others or failed, 0 were not reached/, $offset);
unlike(slurp_file($node->logfile, $offset), qr/canceling statement/, 'which is nothing to worry about');
$node->restart;
wait_until($node, $db, qq{(SELECT max(began_at) > '$checked' FROM scoreboard.verification WHERE board_id = 4)}, 'and does it later that night');

# DROP EXTENSION doesn't wait for the night to end.
sql('DROP EXTENSION scoreboard');
$node->stop;
done_testing();
