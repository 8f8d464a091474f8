# Ended seasons are purged while everything goes on: kill -9 of the server at any moment of it leaves a season that is none for readers and goes on
# going; a score that somebody has locked, and a snapshot that is kept, hold up neither other boards nor increments; a dump that was made
# half-way is restored so, and the rest goes there. A season of 60,000 players goes in steps of 1000.
# Needs a server to kill, sessions that sit on something, pg_dump, and a season of many rows.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $db = 'game';
my $players = 60000;
my $node = new_node('season_retention', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
restart_after_crash = off
max_worker_processes = 24
EOT
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }
sub final { my ($board, $season) = @_; return "EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = '$board' AND season = $season AND final)"; }
sub verified
{
	is(sql('SET client_min_messages = error; SELECT * FROM scoreboard_verify() WHERE user_id IS NOT NULL'), '', "$_[0]: nothing differs");
	return;
}
sub gone { my ($board) = @_; return "EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = '$board' AND purged_at IS NOT NULL AND players IS NULL)"; }

sql(<<"EOT");
INSERT INTO scoreboard.board (name, period, publish_interval_ms) VALUES ('big', 'reset', 10), ('small', 'reset', 10), ('held', 'reset', 10);
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('HIT', 'trusted', 1);
SELECT count(*) FROM scoreboard_import('big', (SELECT array_agg('p' || n) FROM generate_series(1, $players) AS n), (SELECT array_agg(n) FROM generate_series(1, $players) AS n), 'import');
SELECT scoreboard_increment_for('p1', 'HIT', board, board) FROM unnest(ARRAY['small', 'held']) AS board;
SELECT scoreboard_reset_season(board) FROM unnest(ARRAY['big', 'small', 'held']) AS board;
CREATE TABLE step (place text, xid xid8);
CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.step VALUES (TG_TABLE_NAME, pg_current_xact_id()); RETURN NULL; END';
CREATE TRIGGER note_step AFTER DELETE ON scoreboard.score FOR EACH ROW EXECUTE FUNCTION note_step();
CREATE TRIGGER note_step AFTER DELETE ON scoreboard.balance FOR EACH ROW EXECUTE FUNCTION note_step();
EOT
wait_until($node, $db, final($_, 1), "season 1 of $_ is final") foreach qw(big small held);
sql(q{SELECT scoreboard_increment_for('p' || n, 'HIT', 'second', 'big') FROM generate_series(1, 20) AS n});

# ------------------------------------------------------------------------
# A row that somebody has locked, a snapshot, kill -9
# ------------------------------------------------------------------------

sub lock_score
{
	my $locker = $node->background_psql($db);

	$locker->query_safe(qq{BEGIN; SELECT FROM scoreboard.score JOIN scoreboard.board USING (board_id) JOIN scoreboard.player USING (player_id)
		WHERE season = 1 AND (name = 'held' OR name = 'big' AND user_id = 'p$players') FOR UPDATE OF score});
	return $locker;
}

my $locker = lock_score();
my $snapshot = $node->background_psql($db);
$snapshot->query_safe('SET client_min_messages = error; BEGIN ISOLATION LEVEL REPEATABLE READ');
my $seen_first = $snapshot->query_safe('SELECT count(*), sum(score) FROM scoreboard.score');
sql(q{UPDATE scoreboard.season SET ended_at = ended_at - interval '2 hours' WHERE ended_at IS NOT NULL; UPDATE scoreboard.board SET season_retention = '1 hour' WHERE name <> 'global'});
foreach my $goal (50000, 30000)
{
	wait_until($node, $db, "(SELECT count(*) < $goal FROM scoreboard.score JOIN scoreboard.board USING (board_id) WHERE name = 'big' AND season = 1)", "fewer than $goal scores are left");
	if ($goal == 50000)
	{
		is($snapshot->query_safe('SELECT count(*), sum(score) FROM scoreboard.score'), $seen_first, 'a snapshot that was kept sees what it saw');
		$_->quit foreach $snapshot, $locker;
	}
	kill_and_start($node);
	$locker = lock_score();
	my ($code, $out, $error) = $node->psql($db, q{SELECT scoreboard_top('big', season => 1)});
	like($error, qr/the board has no such season/, 'killed half-way: the season is none');
	verified('killed half-way');
}

# ------------------------------------------------------------------------
# A dump of what is half-way
# ------------------------------------------------------------------------

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-Fc', '-f', $dump, '-T', 'step', $db ], 'pg_dump');
is(sql(q{SELECT score > 0 FROM scoreboard_increment_for('p1', 'HIT', 'beside', 'big')}), 't', 'increments go on');
wait_until($node, $db, gone('small'), 'a board of which nothing is locked loses its season');
wait_until($node, $db, "(SELECT count(*) = 1 FROM scoreboard.score JOIN scoreboard.board USING (board_id) WHERE name = 'big' AND season = 1)", 'of another one all goes but what is locked');
$locker->query_safe('COMMIT');
$locker->quit;
sql(q{UPDATE scoreboard.board SET season_retention = '61 minutes' WHERE name <> 'global'});
wait_until($node, $db, gone($_), "that goes later, too ($_)") foreach qw(big held);
is(sql(q{SELECT count(*) FROM scoreboard.balance JOIN scoreboard.board USING (board_id) WHERE name = 'big'}), 0, 'nothing is left of its balances');
verified('after');
my ($steps, $largest) = split(/\|/, sql(q{SELECT count(*), max(n) FROM (SELECT count(*) AS n FROM step GROUP BY xid) AS steps}));
cmp_ok($largest, '<=', 1000, "no step took more than 1000 rows ($steps steps)");
is(sql(q{SELECT string_agg(user_id || ' ' || score, ',') FROM scoreboard_top('big', 2)}), 'p1 2,p2 1', 'the running season is as it was');

$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
my $errors = '';
IPC::Run::run([ 'pg_restore', '-h', $node->host, '-p', $node->port, '-d', 'restored', $dump ], '2>', \$errors);
unlike($errors, qr/ERROR/, 'a dump that was made half-way is restored');
wait_until($node, 'restored', gone($_), "the rest of $_ goes there") foreach qw(big small held);
is($node->safe_psql('restored', q{SET client_min_messages = error; SELECT * FROM scoreboard_verify() WHERE user_id IS NOT NULL}), '', 'nothing differs there');

$node->stop;
done_testing();
