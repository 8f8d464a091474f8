# Kept versions of lists: a restart and a crash add none for lists that stood there before; a standby answers; whoever sits on the table holds up no
# list, and what couldn't be kept is kept afterwards; a player who is forgotten while the publisher has a list with it in its hands is gone from it.
# Needs restarts, a standby and several sessions.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('past', streaming => 1, conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

sql(q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('WIN', 'trusted', -1000, 1000);
	INSERT INTO scoreboard.board (name, period, keep_versions, publish_interval_ms) VALUES ('kept', 'forever', '1 day', 10), ('daily', 'day', '1 day', 10);
	INSERT INTO scoreboard.board (name, keep_versions) SELECT 'b' || n, '1 hour' FROM generate_series(1, 300) n;
	SELECT scoreboard_increment_for('ann', 'WIN', 'a' || board_id, name, 1) FROM scoreboard.board WHERE keep_versions IS NOT NULL;
	SELECT scoreboard_increment_for('bob', 'WIN', 'b1', 'kept', 2, detail => 'bob says so')});
sub list { my ($board) = @_; return "(SELECT string_agg(e ->> 'userId', ' ' ORDER BY n) FROM scoreboard_leaderboard_at('$board', clock_timestamp()) d, json_array_elements(d -> 'entries') WITH ORDINALITY x (e, n))"; }
my $all = q{(SELECT count(*) FROM scoreboard.board b WHERE keep_versions IS NOT NULL
	AND EXISTS (SELECT FROM scoreboard.kept_version k WHERE k.board_id = b.board_id AND cardinality(k.player_ids) > 0)) = 302};
wait_until($node, $db, $all, 'a list of each board is kept');
wait_until($node, $db, list('kept') . q{ = 'bob ann'}, 'so is the one that changed');
is(sql(q{SELECT d ->> 'seasonStart' = t.document::json ->> 'seasonStart' AND d ->> 'seasonEnd' = t.document::json ->> 'seasonEnd'
	FROM scoreboard_leaderboard_at('daily', clock_timestamp()) d, scoreboard.top t WHERE t.board = 'daily'}), 't', 'with its season');

# A start publishes every list, and keeps none of them again.
my $count = 'SELECT count(*) FROM scoreboard.kept_version';
my $before = sql($count);
my $published = q{(SELECT count(*) FROM scoreboard.top t JOIN scoreboard.board b ON b.name = t.board WHERE t.version > %s) = 303};
foreach my $how ('restart', 'crash')
{
	my $version = sql('SELECT max(version) FROM scoreboard.top');

	$how eq 'crash' ? kill_and_start($node) : $node->restart;
	wait_until($node, $db, sprintf($published, $version), "all are published after a $how");
	is(sql($count), $before, "none is kept again after a $how");
}

# On a standby
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql($db, 'SELECT ' . list('kept')), 'bob ann', 'a standby answers what stood');
$standby->stop;

# Somebody locks the table, as who forgets a player does, and stays there.
my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; LOCK TABLE scoreboard.kept_version IN SHARE ROW EXCLUSIVE MODE');
sql(q{SELECT scoreboard_increment_for('cid', 'WIN', 'c1', 'kept', 3)});
wait_for_list($node, $db, 'kept', '3 2 1');
is(sql('SELECT ' . list('kept')), 'bob ann', 'who holds the table keeps no list from being published, only from being kept');
$holder->query_safe('COMMIT');
wait_until($node, $db, list('kept') . q{ = 'cid bob ann'}, 'afterwards it is kept, without a further change');

# The publisher has built a list with bob in it, and can't store it yet: bob's number and words must not come after he was forgotten.
my ($bob) = sql(q{SELECT player_id FROM scoreboard.player WHERE user_id = 'bob'});
my $trace = qq{SELECT count(*) FROM scoreboard.kept_version WHERE $bob = ANY (player_ids) OR 'bob says so' = ANY (details)};
cmp_ok(sql($trace), '>', 0, 'bob stands in lists');
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard.top WHERE board = 'kept' FOR UPDATE});
sql(q{SELECT scoreboard_increment_for('dan', 'WIN', 'd1', 'kept', 4)});
wait_until($node, $db, q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND wait_event_type = 'Lock')}, 'the publisher has a list in its hands');
my $forgetter = $node->background_psql($db);
my $pid = $forgetter->query_safe('SELECT pg_backend_pid()');
$forgetter->query_until(qr/begun/, qq{\\echo begun\nSELECT mode FROM scoreboard_forget('bob');\n});
wait_until($node, $db, "EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND (wait_event_type = 'Lock' OR state = 'idle'))", 'who forgets waits for it');
$holder->query_safe('COMMIT');
wait_until($node, $db, list('kept') . q{ = 'dan cid ann'}, 'the next list is without him');
is(sql($trace), '0', 'and so are all that were kept');
wait_until($node, $db, "(SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid)", 'he was forgotten');
is(sql(q{SELECT count(*) FROM scoreboard.adjustment WHERE kind = 'erase'}), '1', 'once');
$forgetter->quit;

# Nor does who changes rows.
$holder->query_safe(q{BEGIN; DELETE FROM scoreboard.kept_version});
sql(q{SELECT scoreboard_increment_for('fay', 'WIN', 'f1', 'kept', 5)});
wait_until($node, $db, list('kept') . q{ = 'fay dan cid ann'}, 'who deletes rows holds up nothing');
$holder->query_safe(q{ROLLBACK});
$holder->quit;

# What was kept of moments to come, by a clock that was set back since, will never have stood.
$holder = $node->background_psql($db);
sql(q{UPDATE scoreboard.kept_version SET kept_at = kept_at + interval '1 hour' WHERE (board_id, kept_at) IN (SELECT board_id, max(kept_at) FROM scoreboard.kept_version GROUP BY 1)});
$holder->query_safe(q{BEGIN; SELECT FROM scoreboard.kept_version WHERE board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'daily') FOR UPDATE});
sql(q{SELECT scoreboard_increment_for('gus', 'WIN', 'g' || board_id, name, 6) FROM scoreboard.board WHERE name IN ('kept', 'daily')});
wait_until($node, $db, list('kept') . q{ = 'gus fay dan cid ann'}, 'the list of now is kept');
wait_until($node, $db, list('daily') . q{ = 'gus ann'}, 'on the board too whose rows somebody holds');
my $to_come = q{SELECT count(*) FROM scoreboard.kept_version JOIN scoreboard.board USING (board_id) WHERE kept_at > clock_timestamp() AND name = };
is(sql("$to_come 'kept'"), 0, 'and nothing of moments to come');
$holder->query_safe(q{ROLLBACK});
$holder->quit;
sql(q{SELECT scoreboard_increment_for('gus', 'WIN', 'more', 'daily', 1)});
wait_until($node, $db, "($to_come 'daily') = 0", 'nor there once they are free');

# An administrator has added a column to the table that we know nothing of: lists are published all the same, and kept again once it is mended.
my $log = -s $node->logfile;
sql(q{ALTER TABLE scoreboard.kept_version ADD COLUMN note text NOT NULL DEFAULT '', ALTER COLUMN version TYPE numeric; ALTER TABLE scoreboard.kept_version ALTER COLUMN note DROP DEFAULT});
is(sql(q{SELECT scoreboard_leaderboard_at('kept', clock_timestamp()) ->> 'version' = version::text FROM scoreboard.top WHERE board = 'kept'}), 't', 'a version of another type is itself');
sql(q{SELECT scoreboard_increment_for('hal', 'WIN', 'h' || board_id, name, 7) FROM scoreboard.board WHERE name IN ('kept', 'b1', 'b2')});
wait_for_list($node, $db, $_->[0], $_->[1]) foreach [ 'kept', '7 6 5 4 3 1' ], [ 'b1', '7 1' ], [ 'b2', '7 1' ];
is(sql('SELECT ' . list('kept')), 'gus fay dan cid ann', 'published, not kept');
my $said = slurp_file($node->logfile, $log);
like($said, qr/without keeping versions of its list: null value in column "note"/, 'the log says so');
unlike($said, qr/Failing row/, 'and nothing of what stands there');
sql(q{ALTER TABLE scoreboard.kept_version DROP COLUMN note, ALTER COLUMN version TYPE bigint});
wait_until($node, $db, list($_->[0]) . " = '$_->[1]'", "$_->[0] is kept again") foreach [ 'kept', 'hal gus fay dan cid ann' ], [ 'b1', 'hal ann' ], [ 'b2', 'hal ann' ];
like(slurp_file($node->logfile, $log), qr/keeps versions of lists again/, 'and the log says that');
$node->stop;
done_testing();
