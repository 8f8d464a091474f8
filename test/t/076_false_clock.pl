# Ends of seasons as the clock brings them: writers through the midnight of a day, of the day of 25 hours (a week's end, too) and of a
# month, transactions that stay open over them, snapshots of before; then a clock that is set back, before and after a crash, midnights
# that the publisher sleeps through, and a clock that was ahead. Every action counts in one season, none is left again, final documents
# are what a model makes of the answers, and each end is announced once.
# Needs a server whose clock is set: its wall clock is false_clock.c's.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use IPC::Open2;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

use FalseClock;
use ScoreboardTest;

my $directory = PostgreSQL::Test::Utils::tempdir;

set_clock(2026, 10, 24, 12, 0, 0);
my $node = init_node('false_clock', conf => <<'EOT');
shared_preload_libraries = 'scoreboard'
scoreboard.verify_at = off
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.outbox = on
scoreboard.moderation_wait = 60s
restart_after_crash = off
log_lock_waits = on
EOT
falsely(sub { $node->start });
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }
like(sql('SELECT clock_timestamp()'), qr/^2026-10-24 12:/, 'the server\'s clock is false');

sql(q{INSERT INTO scoreboard.board (name, period, time_zone, publish_interval_ms) SELECT p, p, 'Europe/Berlin', 10 FROM unnest(ARRAY['day', 'week', 'month']) AS p;
	UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT board_id FROM scoreboard.board WHERE name IN ('week', 'month')) WHERE name = 'day';
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('WIN', 'trusted', 1)});
my $actions = 0;
sub act_of { my ($who) = @_; $actions++; return "SELECT season FROM scoreboard_increment_for('$who', 'WIN', 'act-$actions', 'day')"; }
sub act { my ($who) = @_; return sql(act_of($who)); }
sub season { my ($board) = @_; return sql("SELECT season FROM scoreboard_boards() WHERE board = '$board'"); }
sub of_season { my ($board, $season, $condition) = @_; return "EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = '$board' AND season = $season AND $condition)"; }
sub listed { my ($board, $season) = @_; return "EXISTS (SELECT FROM scoreboard.top WHERE board = '$board' AND season = $season)"; }
sub span { my ($board, $season) = @_; return sql("SELECT concat_ws(' ', document::json ->> 'seasonStart', document::json ->> 'seasonEnd') FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = '$board' AND season = $season"); }
sub verified
{
	is(sql('SET client_min_messages = error; SELECT * FROM scoreboard_verify() WHERE user_id IS NOT NULL'), '', "$_[0]: nothing differs");
	return;
}
sub wait_for_final
{
	my ($board, $season) = @_;

	wait_until($node, $db, of_season($board, $season, 'final'), "season $season of $board is final");
	return;
}

# ------------------------------------------------------------------------
# Writers, and what they were answered
# ------------------------------------------------------------------------

# One after the other, by a line each; in a file "player season" of each that was counted on the day's board.
sub write_actions
{
	my ($through, $who) = @_;
	my $pid = open2(my $answers, my $requests, 'psql', '-XAtq', '-d', $node->connstr($db));

	open(my $note, '>>', "$directory/$through.$who") or die $!;
	$_->autoflush(1) foreach $requests, $note;
	for (my $n = 1; !-e "$directory/stop.$through"; $n++)
	{
		print $requests "SELECT season FROM scoreboard_increment_for('$who', 'WIN', '$through-$n', 'day');\n";
		my $season = <$answers> // last;
		print $note "$who $season";
	}
	close($requests);
	waitpid($pid, 0);
	return;
}

sub answered { my ($through) = @_; return map { map { [split] } split(/\n/, slurp_file($_)) } glob("$directory/$through.w*"); }

sub start_writers
{
	my ($through) = @_;
	my @children = map { start_child(\&write_actions, $through, "w$_") } 1 .. 3;

	wait_for_answers($through, sub { $_[0] > 0 });
	return @children;
}

# Until each of the writers has had so many answers of a season, or any.
sub wait_for_answers
{
	my ($through, $enough, $season) = @_;

	foreach (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my %count;
		$count{ $_->[0] }++ foreach grep { !$season || $_->[1] == $season } answered($through);
		return if 3 == grep { $enough->($_) } values %count;
		Time::HiRes::usleep(50_000);
	}
	die "waited in vain for the writers' answers ($through)";
}

sub stop_writers
{
	my ($through, @children) = @_;

	append_to_file("$directory/stop.$through", '');
	waitpid($_, 0) foreach @children;
	return;
}

# What the answers make of it: "score player", the best first.
sub model
{
	my ($through, $season, @others) = @_;
	my %score;

	$score{ $_->[0] }++ foreach grep { $_->[1] == $season } answered($through), @others;
	return join(',', sort { (split(' ', $b))[0] <=> (split(' ', $a))[0] or $a cmp $b } map { "$score{$_} $_" } keys %score);
}
sub document { my ($season) = @_; return sql("SELECT string_agg(concat_ws(' ', e ->> 'score', e ->> 'userId'), ',' ORDER BY (e ->> 'score')::int DESC, e ->> 'userId') FROM scoreboard.season JOIN scoreboard.board USING (board_id), json_array_elements(document::json -> 'entries') AS e WHERE name = 'day' AND season = $season"); }
# Against the log: the order by score, then by who has reached it first.
sub ranks_right
{
	my ($season, $what) = @_;
	my $by_log = q{SELECT string_agg(concat_ws(' ', n, user_id, points), ',' ORDER BY n) FROM (SELECT user_id, sum(applied_points) AS points, row_number() OVER (ORDER BY sum(applied_points) DESC, max(a.created_at)) AS n
		FROM scoreboard.action a JOIN scoreboard.player USING (player_id) JOIN scoreboard.board b ON b.board_id = a.board_id WHERE b.name = 'day' AND a.season = } . $season . q{ GROUP BY 1) AS l};

	is(sql("SELECT string_agg(concat_ws(' ', e ->> 'rank', e ->> 'userId', e ->> 'score'), ',' ORDER BY (e ->> 'rank')::int) FROM scoreboard.season JOIN scoreboard.board USING (board_id), json_array_elements(document::json -> 'entries') AS e WHERE name = 'day' AND season = $season"),
		sql($by_log), "$what: the final document has everybody at the rank that the log gives");
	is(sql("SELECT string_agg(concat_ws(' ', rank, user_id, score), ',' ORDER BY rank) FROM scoreboard_top('day', 100, season => $season)"), sql($by_log), "$what: so have the reads");
	is(sql("SELECT players FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'day' AND season = $season"), scalar(split(/,/, document($season))), "$what: the players are counted");
	return;
}

my $saturday = act('ann');
my $october = season('month');
my $week = season('week');
is(season('day'), $saturday, 'an action counts in the day that it is');

# ------------------------------------------------------------------------
# A midnight: three writers, and transactions that are open over it
# ------------------------------------------------------------------------

my @writers = start_writers('midnight');
my $late = $node->background_psql($db);
$late->query_safe('BEGIN; ' . act_of('bob'));
my $snapshot = $node->background_psql($db);
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $both = $node->background_psql($db);
$both->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; ' . act_of('eve'));
my $waits = start_child(sub { append_to_file("$directory/waited", sql(act_of('bob'))) });
wait_until($node, $db, q{EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory')}, 'an action waits for its player');
my $sunday = $saturday + 1;
is(season('day'), $saturday, 'it is not midnight yet');
set_clock(2026, 10, 24, 21, 59, 58);
wait_until($node, $db, listed('day', $sunday), 'the list of the new day is there');
wait_for_answers('midnight', sub { $_[0] > 20 }, $sunday);
is(sql('SELECT ' . of_season('day', $saturday, 'NOT final')), 't', 'the old day waits for who began before its end, while writers write on');
is($snapshot->query_safe(act_of('sam')), $sunday, 'a snapshot of before: its first action counts in the new day');
is($both->query_safe(act_of('eve')), $sunday, 'and so does the second of a transaction whose first was in the old one');
$_->query_safe('COMMIT') foreach $snapshot, $both, $late;
$_->quit foreach $snapshot, $both, $late;
waitpid($waits, 0);
is(slurp_file("$directory/waited"), $sunday, 'an action that has waited over the end counts when it had its turn');
wait_for_final('day', $saturday);
stop_writers('midnight', @writers);
is(scalar(grep { $_->[1] != $saturday && $_->[1] != $sunday } answered('midnight')), 0, 'every action counted in one of both');
is(document($saturday), model('midnight', $saturday, [ 'ann', $saturday ], [ 'bob', $saturday ], [ 'eve', $saturday ]), 'the final document has all that was answered');
ranks_right($saturday, 'a midnight');
is(span('day', $saturday), '2026-10-23T22:00:00.000Z 2026-10-24T22:00:00.000Z', 'the old day has its bounds');
is(season('week'), $week, 'the week goes on');
unlike(slurp_file($node->logfile), qr/still waiting for (?!ExclusiveLock on advisory lock)/, 'nobody has waited for more than a player');
verified('a midnight');

# ------------------------------------------------------------------------
# The day of 25 hours, which ends a week; who stays is ended
# ------------------------------------------------------------------------

sql('ALTER SYSTEM SET scoreboard.moderation_wait = 1500');
sql('SELECT pg_reload_conf()');
wait_until($node, $db, q{current_setting('scoreboard.moderation_wait') = '1500ms'}, 'the setting is read');
set_clock(2026, 10, 25, 22, 30, 0);
is(act('ann'), $sunday, 'the 25th hour is of the day');
@writers = start_writers('week');
my $stays = $node->background_psql($db);
$stays->query_safe('BEGIN; ' . act_of('bob'));
my $seen = -s $node->logfile;
set_clock(2026, 10, 25, 22, 59, 58);
wait_until($node, $db, listed('day', $sunday + 1), 'the day of 25 hours has ended');
wait_for_final($_->[0], $_->[1]) foreach [ 'day', $sunday ], [ 'week', $week ];
wait_for_answers('week', sub { $_[0] > 5 }, $sunday + 1);
stop_writers('week', @writers);
eval { $stays->quit };
my $log = slurp_file($node->logfile, $seen);
like($log, qr/held up a season's end for longer than scoreboard.moderation_wait \(1500 ms\)/, 'who has stayed was ended, and the log says so');
is(scalar(() = $log =~ /scoreboard ended the session/g), 1, 'nobody else was');
is(span('day', $sunday), '2026-10-24T22:00:00.000Z 2026-10-25T23:00:00.000Z', 'it had 25 hours');
is(span('week', $week), '2026-10-18T22:00:00.000Z 2026-10-25T23:00:00.000Z', 'and the week an hour more');
ranks_right($sunday, 'a week\'s end');
verified('a week\'s end');

# ------------------------------------------------------------------------
# A month's end
# ------------------------------------------------------------------------

set_clock(2026, 10, 31, 22, 30, 0);
my $last = $saturday + 7;
is(act('bob'), $last, 'the month\'s last day');
@writers = start_writers('month');
set_clock(2026, 10, 31, 22, 59, 58);
wait_until($node, $db, listed('month', $october + 1), 'the next month has begun');
wait_for_final($_->[0], $_->[1]) foreach [ 'month', $october ], [ 'day', $last ];
stop_writers('month', @writers);
is(document($last), model('month', $last, [ 'bob', $last ]), 'the day\'s final document has what was answered');
ranks_right($last, 'a month\'s end');
is(sql("SELECT string_agg(user_id, ' ' ORDER BY user_id) FROM scoreboard_top('month', 100, season => $october)"), 'ann bob eve sam w1 w2 w3', 'the month has everybody');
is(season('week'), $week + 1, 'the week goes on');
is(act('bob'), $last + 1, 'the next day');
verified('a month\'s end');

# ------------------------------------------------------------------------
# Set back
# ------------------------------------------------------------------------

set_clock(2026, 10, 31, 22, 0, 0);
is(act('ann'), $last + 1, 'an hour back: the season that has begun runs on');
set_clock(2026, 10, 29, 23, 0, 0);
is(act('ann'), $last + 1, 'two days back, too');
is(season('month'), $october + 1, 'and so does the month');
my $version = version($node, $db, 'day');
falsely(sub { kill_and_start($node) });
wait_for_version($node, $db, 'day', $version + 1);
is(act('ann'), $last + 1, 'and after a crash, by what is recorded');
verified('a clock set back');
set_clock(2026, 11, 1, 22, 59, 57);
act('ann');
wait_until($node, $db, listed('day', $last + 2), 'where the clock has come by again, the next day begins');

# ------------------------------------------------------------------------
# Midnights that the publisher sleeps through; the day of 23 hours is among them
# ------------------------------------------------------------------------

my $publisher = stop_publisher($node, $db);
foreach my $day (27 .. 29)
{
	set_clock(2027, 3, $day, 12, 0, 0);
	act('ann');
}
kill('CONT', $publisher);
my $short = act('ann') - 1;
wait_for_final('day', $short - $_) foreach 0 .. 1;
is(span('day', $short), '2027-03-27T23:00:00.000Z 2027-03-28T22:00:00.000Z', 'the day of 23 hours has its bounds');
is(sql("SELECT string_agg(season - $short || ' ' || user_id || ' ' || score, ',' ORDER BY season) FROM unnest(ARRAY[$short - 1, $short, $short + 1]) AS season, LATERAL scoreboard_top('day', season => season)"),
	'-1 ann 1,0 ann 1,1 ann 2', 'and each has its scores');
verified('midnights without the publisher');

# ------------------------------------------------------------------------
# What was announced
# ------------------------------------------------------------------------

wait_until($node, $db, 'NOT EXISTS (SELECT FROM scoreboard.pending_event)', 'all events have their numbers');
is(sql(q{SELECT count(*) FROM scoreboard.season s JOIN scoreboard.board b USING (board_id) WHERE s.ended_at IS NOT NULL
	AND 1 <> (SELECT count(*) FROM scoreboard.event e WHERE e.type = 'season.end' AND e.board = b.name AND e.season = s.season)}), 0, 'each end was announced once');
is(sql(q{SELECT count(*) FROM scoreboard.event e JOIN scoreboard.board b ON b.name = e.board LEFT JOIN scoreboard.season s USING (board_id, season) WHERE e.type = 'season.end' AND s.ended_at IS DISTINCT FROM (e.payload ->> 'endedAt')::timestamptz}), 0,
	'as it is recorded, and nothing else');

# ------------------------------------------------------------------------
# A clock that was years ahead for a moment
# ------------------------------------------------------------------------

set_clock(2031, 1, 1, 12, 0, 0);
my $far = act('ann');
wait_until($node, $db, listed('day', $far), 'a season of the future has begun');
set_clock(2027, 3, 30, 12, 0, 0);
is(act('ann'), $far, 'the board stays in it');
sql(q{DELETE FROM scoreboard.board WHERE name = 'day'; INSERT INTO scoreboard.board (name, period, time_zone, publish_interval_ms) VALUES ('day', 'day', 'Europe/Berlin', 10)});
is(act('ann'), $far, 'made anew, too: the server has noted the moment');
$seen = -s $node->logfile;
$version = version($node, $db, 'day');
falsely(sub { $node->restart });
wait_for_version($node, $db, 'day', $version + 1);
like(slurp_file($node->logfile, $seen), qr/scoreboard "day" is in season $far, which begins at 2030-12-31 23:00:00\+00 only.*\n.*The clock was ahead.*\n.*set the clock, restart the server/, 'the log says so, and what to do');
sql(q{DELETE FROM scoreboard.board WHERE name = 'day'; INSERT INTO scoreboard.board (name, period, time_zone, publish_interval_ms) VALUES ('day', 'day', 'Europe/Berlin', 10)});
is(act('ann'), $short + 2, 'after a restart it is right');
verified('a clock that was ahead');

$node->stop;
done_testing();
