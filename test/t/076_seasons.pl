# A season's end while somebody sits in a transaction that began before it: the list of the new season is there at once, the final
# document of the old one waits for that session, then ends it. And a restart leaves no season that was begun. Needs several sessions, a restart and the log.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('seasons', conf => "scoreboard.moderation_wait = 700\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

sql(q{INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('daily', 'day', 10);
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('WIN', 'trusted', 1)});
sub season { return sql(q{SELECT season FROM scoreboard_boards() WHERE board = 'daily'}); }
my $first = season();
wait_until($node, $db, q{EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'daily')}, 'the season is recorded');

# A later season than the clock's, as a clock that was ahead would have begun it.
sub begin_next
{
	sql(q{INSERT INTO scoreboard.season (board_id, season, began_at) SELECT board_id, max(season) + 1, now() FROM scoreboard.board JOIN scoreboard.season USING (board_id) WHERE name = 'daily' GROUP BY 1;
		UPDATE scoreboard.board SET title = 'next' WHERE name = 'daily'});
	return;
}
sub final { my ($season, $players) = @_; return "(SELECT final AND players = $players FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'daily' AND season = $season)"; }

sql(q{SELECT scoreboard_increment_for('ann', 'WIN', 'a1', 'daily')});
my $late = $node->background_psql($db);
$late->query_safe(q{BEGIN; SELECT scoreboard_increment_for('bob', 'WIN', 'b1', 'daily')});
begin_next();
wait_until($node, $db, "(SELECT season = $first + 1 AND players = 0 FROM scoreboard.top WHERE board = 'daily')", 'the new season has its empty list');
is(sql('SELECT NOT final AND ended_at IS NOT NULL FROM scoreboard.season WHERE season = ' . $first), 't', 'the old one waits for the writer');
$late->query_safe('COMMIT');
wait_until($node, $db, final($first, 2), 'the final document has who committed after the end');
is(sql("SELECT string_agg(user_id, ' ') FROM scoreboard_top('daily', season => $first)"), 'ann bob', 'and so have its ranks');

# Who stays longer is ended.
my $seen = -s $node->logfile;
$late->query_safe(q{BEGIN; SELECT scoreboard_increment_for('eve', 'WIN', 'e1', 'daily')});
sql(q{SELECT scoreboard_increment_for('ann', 'WIN', 'a2', 'daily')});
begin_next();
wait_until($node, $db, final($first + 1, 1), 'a session that stays holds up no season\'s end');
like(slurp_file($node->logfile, $seen), qr/scoreboard ended the session of process \d+.*\n.*It held up a season's end for longer than scoreboard.moderation_wait \(700 ms\)/, 'it was ended, and the log says so');
eval { $late->quit };

# An administrator's transaction that stays open over a player's season holds up no other's end.
sql(q{INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('held', 'reset', 10), ('other', 'reset', 10)});
sql(qq{SELECT scoreboard_increment_for('$_->[0]', 'WIN', 'h1-$_->[1]', '$_->[1]')}) foreach [ 'pat', 'held' ], [ 'pat', 'other' ], [ 'sam', 'held' ];
sql(q{SELECT scoreboard_reset_season('held')});
sub final_reset { my ($board, $players) = @_; return "EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = '$board' AND season = 1 AND final AND players = $players)"; }
wait_until($node, $db, final_reset('held', 2), 'a season has ended');
sql(q{UPDATE scoreboard.season SET final = false FROM scoreboard.board WHERE board.board_id = season.board_id AND name = 'held' AND season = 1});
my $administrator = $node->background_psql($db);
$administrator->query_safe(q{BEGIN; SELECT 1 FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'held' AND season = 1 FOR UPDATE OF season});
$seen = -s $node->logfile;
sql(q{SELECT scoreboard_reset_season('other')});
wait_until($node, $db, final_reset('other', 1), 'another board\'s season becomes final meanwhile');
$administrator->query_safe('COMMIT');
$administrator->quit;
wait_until($node, $db, final_reset('held', 2), 'and so does this one when it is let go');
unlike(slurp_file($node->logfile, $seen), qr/lock timeout/, 'nothing was waited for');

# Seasons that nobody has recorded, as where no publisher ran over their ends: all of them are, with their scores.
my $running = season();
sql(qq{INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT board_id, $running + n, player_id, n, now()
	FROM scoreboard.board, scoreboard.player, generate_series(1, 3) AS n WHERE name = 'daily' AND user_id = 'ann';
	UPDATE scoreboard.board SET title = 'slept' WHERE name = 'daily'});
wait_until($node, $db, final($running + $_, $_ == 0 ? 0 : 1), "season $_ of those that were slept through is final") foreach 0 .. 2;
is(season(), $running + 3, 'the last of them runs');

# A board gets another period while the publisher, which has read its settings, is held up by another board's season: the season that it then
# records would be one of the old period, for ever.
sql(q{INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('first', 'day', 10), ('second', 'week', 10)});
wait_until($node, $db, q{(SELECT count(*) = 2 FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name IN ('first', 'second'))}, 'both boards have their seasons');
$administrator = $node->background_psql($db);
$administrator->query_safe(q{BEGIN; SELECT 1 FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'first' FOR UPDATE OF season});
sql(q{BEGIN; INSERT INTO scoreboard.season (board_id, season, began_at) SELECT board_id, max(season) + 1, now() FROM scoreboard.board JOIN scoreboard.season USING (board_id) WHERE name = 'first' GROUP BY 1;
	UPDATE scoreboard.board SET title = 'next' WHERE name = 'first';
	UPDATE scoreboard.board SET period = 'day' WHERE name = 'second'; COMMIT});
wait_until($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND wait_event_type = 'Lock')}, 'the publisher is held up');
sql(q{UPDATE scoreboard.board SET period = 'month' WHERE name = 'second'});
$administrator->query_safe('COMMIT');
$administrator->quit;
wait_until($node, $db, q{EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'first' AND ended_at IS NOT NULL) AND EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'second')}, 'it goes on');
is(sql(q{SELECT season = (scoreboard.calendar_season('month', 'UTC', now())).season FROM scoreboard_boards() WHERE board = 'second'}), 't', 'the season is one of the new period');
sql(q{DELETE FROM scoreboard.board WHERE name IN ('first', 'second')});

# What was begun is not left after a crash, whether it has scores or not.
kill_and_start($node);
wait_for_version($node, $db, 'daily', 1);
is(season(), $running + 3, 'a season that has begun runs on after a crash');
is(sql(q{SELECT season - } . $running . q{ FROM scoreboard_increment_for('ann', 'WIN', 'a3', 'daily')}), '3', 'actions count in it');

$node->stop;
done_testing();
