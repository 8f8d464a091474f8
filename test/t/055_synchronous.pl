# With a synchronous standby no answer says that an action is counted before the standby has it: not the increment's own, nor
# one that rests on a row which another session committed and whose wait for the standby was cut short. Needs two servers.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use ScoreboardTest;

my $db = 'game';

# The server's default waits for nobody, the sessions' own does.
$ENV{PGOPTIONS} = '-c synchronous_commit=on';
my $primary = new_node('primary', streaming => 1, conf => "synchronous_commit = off\nscoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nscoreboard.receipt_window = 1h\n");
create_database($primary, $db);
$primary->safe_psql($db, PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../lib/signing.sql"));

# What the calls of one and of many send; signed before, since signing may write.
my %call = (
	retry     => q{SELECT 'replayed ' || replayed FROM scoreboard_increment_for('anna', 'AWARD', 'a1', points => 7, idempotency_key => 'k')},
	duplicate => q{SELECT 'replayed ' || replayed FROM scoreboard_increment_for('anna', 'AWARD', 'a1', points => 7, idempotency_key => 'other')},
	mismatch  => q{SELECT 'replayed ' || replayed FROM scoreboard_increment_for('anna', 'AWARD', 'a1', points => 8, idempotency_key => 'k')});
my $element = q{json_build_object('actionType', 'SCORE_RUN', 'actionId', 'b1', 'points', 5, 'issuedAt', now, 'idempotencyKey', 'k',
	'receipt', sign.receipt('ben', 'SCORE_RUN', 'b1', points => 5, issued_at => now), 'token', sign.token('ben'))};
my $requests = $primary->safe_psql($db, "SELECT json_build_array($element) FROM sign.now() now");
$call{batch} = "SELECT 'status ' || status FROM scoreboard_submit(\$r\$$requests\$r\$)";

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'");
$primary->reload;
wait_until($primary, $db, q{EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')}, 'the standby is synchronous');

# A session of its own for each call.
sub start
{
	my ($name) = @_;
	my %session = (name => $name, out => '', err => '');

	$session{psql} = IPC::Run::start([ 'psql', '-XAtq', '-d', $primary->connstr($db), '-c', "SET application_name = '$name'", '-c', $call{$name} ],
		'<', \undef, '>', \$session{out}, '2>', \$session{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%session;
}

sub wait_until_it_waits
{
	my ($session) = @_;

	wait_until($primary, $db, "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '$session->{name}' AND wait_event = 'SyncRep')",
		"$session->{name} waits for the standby");
	$session->{psql}->pump_nb;
	is($session->{out}, '', "$session->{name}: no answer before the standby has it");
	return;
}

# pg_cancel_backend or pg_terminate_backend.
sub interrupt
{
	my ($session, $function) = @_;

	$primary->safe_psql($db, "SELECT $function(pid) FROM pg_stat_activity WHERE application_name = '$session->{name}'");
	$session->{psql}->finish;
	return;
}

sub actions { return $_[0]->safe_psql($db, q{SELECT coalesce(string_agg(action_id, ' ' ORDER BY action_id), '') FROM scoreboard.action}); }

my $version = version($primary, $db, 'global');

# Both are new; their own commits wait, are terminated, and the rows are there.
$standby->stop;
foreach my $name ('retry', 'batch')
{
	my $session = start($name);

	wait_until_it_waits($session);
	interrupt($session, 'pg_terminate_backend');
	unlike($session->{out}, qr/replayed|200/, "$name: an increment whose wait was terminated has no answer");
}
is(actions($primary), 'a1 b1', 'they are counted, but the standby does not have them');
wait_until($primary, $db, q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND wait_event = 'SyncRep')}, 'the publisher waits for the standby');
is(version($primary, $db, 'global'), $version, 'no version is announced that a standby could take back, whatever the default of synchronous_commit');

# What rests on them
foreach my $name ('retry', 'duplicate', 'mismatch')
{
	my $session = start($name);

	wait_until_it_waits($session);
	interrupt($session, 'pg_cancel_backend');
	like($session->{err}, qr/ERROR:.*wait for a synchronous standby was cancelled.*\n.*"code": ?"UNAVAILABLE"/, "$name: a cancelled wait is UNAVAILABLE");
	is($session->{out}, '', "$name: and no answer");
}
my $batch = start('batch');
wait_until_it_waits($batch);
interrupt($batch, 'pg_cancel_backend');
is($batch->{out}, "status 503\n", 'batch: a cancelled wait is UNAVAILABLE for the row');
my $terminated = start('retry');
wait_until_it_waits($terminated);
interrupt($terminated, 'pg_terminate_backend');
is($terminated->{out}, '', 'retry: a terminated wait has no answer');

# Whatever the session says, to the last: a retry, and an increment that is new.
$call{retry_local} = "SET synchronous_commit = local; $call{retry}";
$call{new_off} = q{BEGIN; SET LOCAL synchronous_commit = off; SELECT 'score ' || score FROM scoreboard_increment_for('cleo', 'AWARD', 'c1', points => 3);
	SET LOCAL synchronous_commit = off; COMMIT; SELECT 'acknowledged, ' || current_setting('synchronous_commit')};
my $local = start('retry_local');
wait_until_it_waits($local);
interrupt($local, 'pg_terminate_backend');
is($local->{out}, '', 'synchronous_commit = local: a retry waits all the same');
my $off = start('new_off');
wait_until($primary, $db, q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'new_off' AND wait_event = 'SyncRep')}, 'synchronous_commit = off: an increment waits all the same');

# Longer than any list may be late that is not waiting for the standby.
my $waited = q{FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND wait_event = 'SyncRep'};
wait_until($primary, $db, "(SELECT clock_timestamp() - state_change > interval '8 seconds' $waited)", 'the publisher waited for some seconds');
$waited = $primary->safe_psql($db, "SELECT extract(epoch FROM clock_timestamp() - state_change) $waited");
my @waiting = map { start($_) } 'retry', 'batch';
wait_until_it_waits($_) foreach @waiting;
$standby->start;
$_->{psql}->finish foreach @waiting;
$off->{psql}->finish;
is($off->{out}, "score 3\nacknowledged, on\n", 'synchronous_commit = off: acknowledged when the standby is back, and what the session had set before stands again');
is($waiting[0]->{out}, "replayed true\n", 'retry: answered when the standby is back');
is($waiting[1]->{out}, "status 200\n", 'batch: likewise');
my (undef, undef, $errors) = $primary->psql($db, $call{duplicate});
like($errors, qr/"DUPLICATE_ACTION"/, 'a duplicate is refused as such');
cmp_ok(wait_for_version($primary, $db, 'global', $version + 1), '>', $version, 'the list is published when the standby is back');
is(actions($standby), 'a1 b1 c1', 'the standby has what was acknowledged');
my $begun = time();
$primary->safe_psql($db, q{SELECT scoreboard_increment_for('dora', 'AWARD', 'd1', points => 1)});
wait_until($primary, $db, q{(SELECT document LIKE '%"dora"%' FROM scoreboard.top WHERE board = 'global')}, 'the next list is published');
cmp_ok(time() - $begun, '<', $waited / 2, 'and the next one soon, however long the last had to wait');

$primary->stop('immediate');
$standby->promote;
is(actions($standby), 'a1 b1 c1 d1', 'and has it after a promotion');
is($standby->safe_psql($db, $call{retry}), 'replayed true', 'where a retry is one, and waits for nobody: no standby is named');

$standby->stop;
done_testing();
