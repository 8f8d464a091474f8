# A standby that was behind is promoted across a season's end: the primary is killed before the end, after it, and between the end and the final
# document. The promoted one ends what is to be ended, once; versions are newer than those that were lost, ranks are those of what was
# not lost, and each end is announced once.
# Needs servers whose clock is set, a standby for each.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FalseClock;
use ScoreboardTest;

set_clock(2026, 10, 24, 12, 0, 0);
my $db = 'game';
my $primary = init_node('first', streaming => 1, conf => <<'EOT');
shared_preload_libraries = 'scoreboard'
scoreboard.verify_at = off
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.outbox = on
scoreboard.moderation_wait = 600s
restart_after_crash = off
EOT
falsely(sub { $primary->start });
create_database($primary, $db);
sub sql { return $primary->safe_psql($db, $_[0]); }

sql(q{INSERT INTO scoreboard.board (name, period, time_zone, publish_interval_ms) VALUES ('day', 'day', 'Europe/Berlin', 10);
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('WIN', 'trusted', 1)});
my $actions = 0;
sub act_of { my ($who) = @_; $actions++; return "SELECT season FROM scoreboard_increment_for('$who', 'WIN', 'act-$actions', 'day')"; }
sub act { my ($who) = @_; return sql(act_of($who)); }
sub of_season { my ($season, $condition) = @_; return "EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'day' AND season = $season AND $condition)"; }
sub ranks { my ($season) = @_; return sql("SELECT string_agg(concat_ws(' ', rank, user_id, score), ', ' ORDER BY rank) FROM scoreboard_top('day', season => $season)"); }
sub document { my ($season) = @_; return sql("SELECT string_agg(concat_ws(' ', e ->> 'rank', e ->> 'userId', e ->> 'score'), ', ' ORDER BY (e ->> 'rank')::int) FROM scoreboard.season JOIN scoreboard.board USING (board_id), json_array_elements(document::json -> 'entries') AS e WHERE name = 'day' AND season = $season"); }
sub wait_for_players
{
	my ($season, $players) = @_;

	wait_until($primary, $db, "EXISTS (SELECT FROM scoreboard.top WHERE board = 'day' AND season = $season AND players = $players)", "the list of season $season has $players players");
	return;
}
# The greatest that anybody may have seen of the board
sub last_version { return sql(q{SELECT greatest((SELECT version FROM scoreboard.top WHERE board = 'day'), (SELECT max(version) FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'day'))}); }

sub new_standby
{
	my ($name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	falsely(sub { $standby->start });
	return $standby;
}

# It receives nothing from now on.
sub cut_off
{
	my ($standby) = @_;

	$primary->wait_for_catchup($standby);
	$standby->stop;
	return;
}

sub promote
{
	my ($standby) = @_;

	$primary->stop('immediate');
	falsely(sub { $standby->start });
	$standby->promote;
	$primary = $standby;
	wait_for_publisher($primary, $db);
	return;
}

# The season has ended, and the next one runs; its list is newer than anything that was lost.
sub check_end
{
	my ($season, $lost, $expected, $what) = @_;

	wait_until($primary, $db, of_season($season, 'final'), "season $season is final ($what)");
	wait_until($primary, $db, "EXISTS (SELECT FROM scoreboard.top WHERE board = 'day' AND season = $season + 1 AND version > $lost)", "the next list is newer than what was lost ($what)");
	is(ranks($season), $expected, "$what: ranks of what was not lost");
	is(document($season), $expected, "$what: so has the final document");
	is(act('new'), $season + 1, "$what: actions count in the next one");
	wait_until($primary, $db, 'NOT EXISTS (SELECT FROM scoreboard.pending_event)', 'all events have their numbers');
	is(sql(q{SELECT string_agg(concat_ws(' ', season, n), ',') FROM (SELECT s.season, (SELECT count(*) FROM scoreboard.event e WHERE e.type = 'season.end' AND e.season = s.season) AS n
		FROM scoreboard.season s WHERE s.ended_at IS NOT NULL) AS t WHERE n <> 1}), '', "$what: each end was announced once");
	is(sql("SELECT count(*) FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'day' AND ended_at IS NULL"), 1, "$what: one season runs");
	is(sql('SET client_min_messages = error; SELECT * FROM scoreboard_verify() WHERE user_id IS NOT NULL'), '', "$what: nothing differs");
	return;
}

# ------------------------------------------------------------------------
# Killed before the end
# ------------------------------------------------------------------------

my $day = act('ann');
act('ann');
act('bob');
my $standby = new_standby('second');
wait_for_players($day, 2);
cut_off($standby);
act('lost');
wait_for_players($day, 3);
my $lost = last_version();
set_clock(2026, 10, 24, 22, 5, 0);
promote($standby);
check_end($day, $lost, '1 ann 2, 2 bob 1', 'killed before the end');

# ------------------------------------------------------------------------
# Killed after the end, of which the standby knows nothing
# ------------------------------------------------------------------------

$day++;
act($_) foreach qw(ann ann bob);
$standby = new_standby('third');
wait_for_players($day, 3);
cut_off($standby);
act('lost');
wait_for_players($day, 4);
set_clock(2026, 10, 25, 22, 59, 59);
wait_until($primary, $db, of_season($day, 'final'), 'the season has ended there');
act('lost');
wait_for_players($day + 1, 1);
$lost = last_version();
promote($standby);
check_end($day, $lost, '1 ann 2, 2 new 1, 3 bob 1', 'killed after the end');

# ------------------------------------------------------------------------
# Killed after the end, before the final document has reached the standby
# ------------------------------------------------------------------------

$day++;
act($_) foreach qw(ann ann);
$standby = new_standby('fourth');
wait_for_players($day, 2);
my $late = $primary->background_psql($db);
$late->query_safe('BEGIN; ' . act_of('bob'));
set_clock(2026, 10, 26, 22, 59, 59);
wait_until($primary, $db, of_season($day, 'ended_at IS NOT NULL'), 'the season has ended');
wait_until($primary, $db, "EXISTS (SELECT FROM scoreboard.top WHERE board = 'day' AND season = $day + 1)", 'the next list is there');
my $holder = $primary->background_psql($db);
$holder->query_safe("BEGIN; SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'day' AND season = $day FOR UPDATE OF season");
$late->query_safe('COMMIT');
$late->quit;
cut_off($standby);
$holder->query_safe('COMMIT');
$holder->quit;
wait_until($primary, $db, of_season($day, 'final'), 'the season is final there');
act('lost');
wait_for_players($day + 1, 1);
$lost = last_version();
promote($standby);
check_end($day, $lost, '1 ann 2, 2 new 1, 3 bob 1', 'killed before the final document');
is(sql("SELECT version > $lost FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'day' AND season = $day"), 't', 'a final document that was made anew is newer than what was lost');

$primary->stop;
done_testing();
