# Every database with the extension has its publisher, no other has one, and none is in the way of commands
# that want a database for themselves. Needs several databases and workers that come and go.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('launcher', conf => "max_worker_processes = 16\nmax_prepared_transactions = 1\n");

# CREATE and DROP EXTENSION
create_database($node, $_) foreach ('one', 'two');
wait_for_publisher($node, $_) foreach ('one', 'two');
is(scalar(grep { publisher_pid($node, $_) ne '' } ('one', 'two')), 2, 'two databases have their publishers');
$node->safe_psql('two', 'DROP EXTENSION scoreboard');
wait_for_no_publisher($node, 'two');
is(publisher_pid($node, 'two'), '', 'DROP EXTENSION ends the publisher');
$node->safe_psql('two', 'BEGIN; CREATE EXTENSION scoreboard; ROLLBACK');
$node->safe_psql('two', 'CREATE EXTENSION scoreboard');
cmp_ok(wait_for_version($node, 'two', 'global', 1), '>', 0, 'CREATE EXTENSION, after one that was rolled back, starts it again');
$node->safe_psql('two', 'DROP EXTENSION scoreboard; CREATE EXTENSION scoreboard');
cmp_ok(wait_for_version($node, 'two', 'global', 1), '>', 0, 'so does one right after DROP EXTENSION');
$node->safe_psql('two', 'DROP EXTENSION pgcrypto CASCADE');
wait_for_no_publisher($node, 'two');
is(publisher_pid($node, 'two'), '', 'a cascade that drops the extension ends the publisher');
my ($status, undef, $errors) = $node->psql('two',
	q{BEGIN; CREATE EXTENSION scoreboard CASCADE; PREPARE TRANSACTION 'x'});
like($errors, qr/cannot PREPARE a transaction that has created or dropped extension "scoreboard"/,
	'CREATE EXTENSION can not be prepared');

# Commands on databases
$node->safe_psql('postgres', 'CREATE DATABASE three TEMPLATE one');
wait_for_publisher($node, $_) foreach ('one', 'three');
is(scalar(grep { publisher_pid($node, $_) ne '' } ('one', 'three')), 2, 'CREATE DATABASE ... TEMPLATE: both have a publisher afterwards');
$node->safe_psql('postgres', 'ALTER DATABASE three RENAME TO four');
wait_for_publisher($node, 'four');
like(publisher_pid($node, 'four'), qr/^\d+$/, 'RENAME, and the publisher is there again');
$node->safe_psql('postgres', 'BEGIN; ALTER DATABASE four RENAME TO five; ROLLBACK');
wait_for_publisher($node, 'four');
like(publisher_pid($node, 'four'), qr/^\d+$/, 'so it is after a RENAME that was rolled back');
my $place = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE place LOCATION '$place'");
$node->safe_psql('postgres', 'ALTER DATABASE four SET TABLESPACE place');
wait_for_publisher($node, 'four');
like(publisher_pid($node, 'four'), qr/^\d+$/, 'SET TABLESPACE, likewise');
add_score($node, 'four', 'global', 'anna', 7);
cmp_ok(wait_for_list($node, 'four', 'global', '7'), '>', 0, 'it publishes there');
$node->safe_psql('postgres', 'DROP DATABASE four');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname = 'four'}),
	0, 'DROP DATABASE');

# The same while a worker builds ranks, which is slow to leave: a lock keeps it until it is stopped.
create_database($node, 'eight');
my $locker = $node->background_psql('eight');
$locker->query_safe('BEGIN; LOCK TABLE scoreboard.score IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('eight', q{INSERT INTO scoreboard.board (name) VALUES ('another')});
my $builder = q{FROM pg_stat_activity WHERE backend_type = 'scoreboard builder'};
wait_until($node, 'eight', "EXISTS (SELECT $builder AND wait_event_type = 'Lock')", 'a builder waits');
my $builder_pid = $node->safe_psql('postgres', "SELECT pid $builder");
kill 'STOP', $builder_pid;
$locker->quit;
my $dropper = $node->background_psql('postgres');
$dropper->query_until(qr/dropping/, "\\echo dropping\nDROP DATABASE eight;\n\\echo dropped\n");
wait_until($node, 'postgres', q{EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'DROP DATABASE eight%' AND wait_event_type = 'Extension')},
	'DROP DATABASE waits for the workers');
kill 'CONT', $builder_pid;
$dropper->query_until(qr/dropped/, '');
$dropper->quit;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname = 'eight'}), 0, 'DROP DATABASE while ranks are being built');


# Without a TEMPLATE it is template1, which has a publisher where it isn't marked as a template.
$node->safe_psql('template1', 'CREATE EXTENSION scoreboard CASCADE');
$node->safe_psql('postgres', 'CREATE DATABASE seven');
wait_for_publisher($node, 'seven');
wait_for_no_publisher($node, 'template1');
is(publisher_pid($node, 'template1'), '', 'a database made from template1 with the extension has a publisher, template1 has none');
$node->safe_psql('postgres', 'ALTER DATABASE template1 IS_TEMPLATE false');
foreach my $options ('', 'TEMPLATE DEFAULT', 'TEMPLATE = template1', 'STRATEGY file_copy')
{
	$node->safe_psql('postgres', 'DROP DATABASE seven');
	wait_for_publisher($node, 'template1');
	$node->safe_psql('postgres', "CREATE DATABASE seven $options");
	wait_for_publisher($node, 'seven');
	like(publisher_pid($node, 'seven'), qr/^\d+$/, "CREATE DATABASE $options: template1's publisher makes room");
}
$node->safe_psql('template1', 'DROP EXTENSION scoreboard');
$node->safe_psql('postgres', 'ALTER DATABASE template1 IS_TEMPLATE true');
$node->safe_psql('postgres', 'DROP DATABASE seven');
$node->safe_psql('postgres', 'ALTER DATABASE one ALLOW_CONNECTIONS false');
wait_for_no_publisher($node, 'one');
is(publisher_pid($node, 'one'), '', 'a database that lets nobody in has no publisher');
$node->safe_psql('postgres', 'ALTER DATABASE one ALLOW_CONNECTIONS true');
wait_for_publisher($node, 'one');
like(publisher_pid($node, 'one'), qr/^\d+$/, 'and has one when it does again');

# Who may not drop a database can't stop its publisher either.
my $pid = publisher_pid($node, 'one');
$node->safe_psql('postgres', 'CREATE ROLE joe LOGIN CREATEDB');
foreach my $command ('DROP DATABASE one', 'CREATE DATABASE copy TEMPLATE one', 'ALTER DATABASE one RENAME TO mine')
{
	$node->psql('postgres', "SET ROLE joe; $command");
}
is(publisher_pid($node, 'one'), $pid, 'commands that are refused leave the publisher alone');

# Workers that end
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_until($node, 'postgres',
	"EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND datname = 'one' AND pid <> $pid)",
	'the publisher is another process');
isnt(publisher_pid($node, 'one'), $pid, 'a publisher that was ended is replaced');

# Being ended is no failure: the launcher doesn't wait longer each time, also where nothing could be published meanwhile.
$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
$node->reload;
$node->safe_psql('one', 'ALTER TABLE scoreboard.top ADD CONSTRAINT poison CHECK (false) NOT VALID');
my $start = -s $node->logfile;
foreach (1 .. 5)
{
	$pid = publisher_pid($node, 'one');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_until($node, 'postgres',
		"EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND datname = 'one' AND pid <> $pid)",
		'the publisher is another process');
}
my @waits = PostgreSQL::Test::Utils::slurp_file($node->logfile, $start) =~ /scoreboard publisher for database \d+ starts again in (\d+) ms/g;
is("@waits", '250 250 250 250 250', 'a publisher that is ended again and again comes back as soon as after the first time');
$node->safe_psql('one', 'ALTER TABLE scoreboard.top DROP CONSTRAINT poison');

# Failing is: one that can't even begin, for want of its database's locale, waits twice as long each time.
$start = -s $node->logfile;
my $locales = $node->safe_psql('postgres', q{SELECT format('datcollate = %L, datctype = %L', datcollate, datctype) FROM pg_database WHERE datname = 'one'});
$node->safe_psql('postgres', q{UPDATE pg_database SET datcollate = 'nowhere', datctype = 'nowhere' WHERE datname = 'one'});
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . publisher_pid($node, 'one') . ')');
my $again = qr/scoreboard publisher for database \d+ starts again in (\d+) ms/;
$node->wait_for_log(qr/(?:$again.*){3}/s, $start);
$node->safe_psql('postgres', "UPDATE pg_database SET $locales WHERE datname = 'one'");
is(join(' ', PostgreSQL::Test::Utils::slurp_file($node->logfile, $start) =~ /$again/g), '250 500 1000', 'a publisher that fails again and again is started ever later');
wait_for_publisher($node, 'one');
add_score($node, 'one', 'global', 'back', 77);
cmp_ok(wait_for_list($node, 'one', 'global', '77'), '>', 0, 'and serves when it can');
$node->append_conf('postgresql.conf', 'log_min_messages = warning');

# More databases at once than the launcher has places to note them: the last one, of which it knew that it was without, has its publisher too.
$node->safe_psql('postgres', 'CREATE DATABASE nine');
my $launcher_pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'scoreboard launcher'});
kill 'STOP', $launcher_pid;
$node->safe_psql($_, 'CREATE EXTENSION scoreboard CASCADE') foreach ('postgres', 'template1', 'nine');
$node->safe_psql('one', 'DROP EXTENSION scoreboard; CREATE EXTENSION scoreboard');
$node->safe_psql('two', 'CREATE EXTENSION scoreboard CASCADE');
kill 'CONT', $launcher_pid;
wait_for_publisher($node, $_) foreach ('postgres', 'nine', 'one', 'two');
is(scalar(grep { publisher_pid($node, $_) ne '' } ('postgres', 'nine', 'one', 'two')), 4, 'databases that come all at once have their publishers');
$node->safe_psql($_, 'DROP EXTENSION scoreboard') foreach ('postgres', 'template1', 'nine', 'two');

$node->restart;
wait_for_publisher($node, 'one');
like(publisher_pid($node, 'one'), qr/^\d+$/, 'a restart of the server starts it');

# Too few workers: the launcher of logical replication, ours, and one publisher.
my $offset = -s $node->logfile;
$node->append_conf('postgresql.conf', "max_worker_processes = 3\nmax_parallel_workers = 0");
$node->restart;
wait_for_publisher($node, 'one');
$node->safe_psql('postgres', 'CREATE DATABASE six TEMPLATE one');
$node->wait_for_log(qr/no background worker is free.*max_worker_processes/s, $offset);
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher'})
  foreach (1 .. 3);
$node->safe_psql('postgres', 'DROP DATABASE six');
wait_for_publisher($node, 'one');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset);
my $reports = () = $log =~ /WARNING:.*no background worker is free/g;
is($reports, 1, 'running out of workers is reported once');

$node->stop;
done_testing();
