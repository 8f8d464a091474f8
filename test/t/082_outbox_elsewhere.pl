# The outbox where pg_regress can't look: off it costs and records nothing; consumers are notified; a dump takes what has no position yet along; what is
# kept long enough goes; and after a standby that was behind is promoted, positions lie behind all that were seen, under the ids that events had.
# Needs several servers, and a publisher that is held up (SIGSTOP).
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $conf = "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n";
my $node = new_node('outbox_primary', streaming => 1, conf => $conf . "max_worker_processes = 16\n");

create_database($node, 'game');
$node->safe_psql('game', q{INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('HIT', 'trusted', 1);
	UPDATE scoreboard.board SET publish_interval_ms = 10;
	SELECT scoreboard_create_consumer('lags')});

sub count
{
	my ($on, $user, $action) = @_;

	return $on->safe_psql('game', "SELECT score FROM scoreboard_increment_for('$user', 'HIT', '$action')");
}

# The event of an action: position and id. Waits for it.
sub event_of
{
	my ($on, $action, $database) = @_;
	my $where = "FROM scoreboard.event WHERE payload ->> 'actionId' = '$action'";

	$database //= 'game';
	wait_until($on, $database, "EXISTS (SELECT $where)", "action $action has its event");
	return split(/\|/, $on->safe_psql($database, "SELECT position, event_id $where"));
}

# Off
count($node, 'a', 'off');
wait_for_list($node, 'game', 'global', '1');
$node->safe_psql('game', q{SELECT scoreboard_freeze('a'), scoreboard_restore('a')});
is($node->safe_psql('game', 'SELECT (SELECT count(*) FROM scoreboard.event) + (SELECT count(*) FROM scoreboard.pending_event)'), 0, 'off: nothing is recorded');
$node->append_conf('postgresql.conf', 'scoreboard.outbox = on');
$node->reload;
wait_until($node, 'game', q{current_setting('scoreboard.outbox') = 'on'}, 'the outbox is on');
count($node, 'a', 'on');
my ($first) = event_of($node, 'on');
cmp_ok($first, '>', 1_700_000_000_000_000, 'on: it is, from now on');

# Notified, by the publisher
my $notified = $node->safe_psql('game', q{
	LISTEN scoreboard_events;
	SELECT score FROM scoreboard_increment_for('a', 'HIT', 'notified');
	DO $$ BEGIN FOR i IN 1..3000 LOOP EXIT WHEN EXISTS (SELECT FROM scoreboard.event WHERE payload ->> 'actionId' = 'notified'); PERFORM pg_sleep(0.01); END LOOP; END $$;
	SELECT 'done'});
my ($position) = event_of($node, 'notified');
like($notified, qr/notification "scoreboard_events" with payload "$position"/, 'who listens is told the last position');

# A dump while the publisher is held up
my $publisher = stop_publisher($node, 'game');
count($node, 'b', 'pending');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-Fp', '-f', $dump, 'game' ], 'dumped');
my $pending = $node->safe_psql('game', 'SELECT event_id FROM scoreboard.pending_event');
like($pending, qr/^[-0-9a-f]{36}$/, 'with an event that has no position');
kill('CONT', $publisher);
is((event_of($node, 'pending'))[1], $pending, 'it gets one under its id');
my $events = q{SELECT string_agg(concat_ws(' ', event_id, type, payload ->> 'actionId'), E'\n' ORDER BY position) FROM scoreboard.event};
foreach my $how ([], ['--single-transaction'])
{
	# Not the server's
	local $ENV{PGTZ} = 'Asia/Tokyo';

	$node->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE template0');
	my ($output, $errors) = run_command([ 'psql', '-X', '-q', '-A', '-t', @$how, '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port,
		'-f', $dump, '-c', q{SELECT count(*) || ' set apart' FROM scoreboard.pending_event WHERE writer < 0}, 'again' ]);
	# Else a transaction here could come to have that id, and its event that key.
	like($output, qr/^1 set apart$/m, "restored (@$how)");
	event_of($node, 'pending', 'again');
	is($node->safe_psql('again', 'SELECT count(*) FROM scoreboard.pending_event'), 0, 'nothing is left without a position');
	is($node->safe_psql('again', $events), $node->safe_psql('game', $events), 'all events are there, and none besides');
	is($node->safe_psql('again', q{SELECT name, position FROM scoreboard.consumer}), 'lags|0', 'consumers stand where they stood');
	$node->safe_psql('postgres', 'DROP DATABASE again WITH (FORCE)');
}

# A standby, and what it doesn't hear of
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('outbox_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$publisher = stop_publisher($node, 'game');
count($node, 'b', 'known');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->stop;
kill('CONT', $publisher);
my ($known_at, $known_id) = event_of($node, 'known');
count($node, 'b', 'unknown');
my ($unknown_at) = event_of($node, 'unknown');

# What is kept long enough goes
$node->append_conf('postgresql.conf', 'scoreboard.event_retention = 1s');
wait_until($node, 'game', q{bool_and(numbered_at < now() - interval '1 second') FROM scoreboard.event}, 'all events are old');
$node->restart;
wait_until($node, 'game', 'count(*) = 1 FROM scoreboard.event', 'they are purged');
is((event_of($node, 'unknown'))[0], $unknown_at, 'the last one stays');
my ($status, $out, $error) = $node->psql('game', q{SELECT * FROM scoreboard_events('lags')});
like($error, qr/events up to position \d+ were purged before consumer "lags"/, 'a consumer that has lost some is told');
like(slurp_file($node->logfile), qr/scoreboard has purged events that consumers had not acknowledged: "lags"/, 'and the log says so');
count($node, 'c', 'restarted');
cmp_ok((event_of($node, 'restarted'))[0], '>', $unknown_at, 'positions go on');
my ($seen) = event_of($node, 'restarted');

$node->stop('immediate');
$standby->start;
$standby->promote;
wait_for_publisher($standby, 'game');
count($standby, 'd', 'promoted');
my ($promoted_at) = event_of($standby, 'promoted');
my ($again_at, $again_id) = event_of($standby, 'known');
is($again_id, $known_id, 'promoted: what the standby knew has the id that it had');
cmp_ok($again_at, '>', $seen, 'behind all positions that were seen');
cmp_ok($promoted_at, '>', $seen, 'as is what is new');
is($standby->safe_psql('game', q{SELECT scoreboard_acknowledge('lags', 5)}), 5, 'consumers go on');
is($standby->safe_psql('game', q{SELECT position FROM scoreboard_events('lags', 1)}), $first, 'with what it still has');
$standby->stop;
done_testing();
