# A standby serves the published lists and publishes nothing; promoted, it starts its publishers and its
# versions are newer, also where it had not received the last ones. Needs two servers.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $primary = new_node('primary', streaming => 1);
my $db = 'game';
create_database($primary, $db);
add_score($primary, $db, 'global', 'anna', 10);
wait_for_list($primary, $db, 'global', '10');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

add_score($primary, $db, 'global', 'anna', 20);
my $version = wait_for_list($primary, $db, 'global', '20');
$primary->wait_for_catchup($standby);
is(wait_for_list($standby, $db, 'global', '20'), $version, "the standby serves the primary's list");
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'scoreboard%'}),
	0, 'it has neither launcher nor publisher');
my ($status, $output, $errors) = $standby->psql($db, q{SELECT scoreboard.redeem_ticket('none')}, extra_params => ['-v', 'VERBOSITY=verbose']);
like($errors, qr/PT503: .*by the primary server only/, 'it has no tickets, and says so');

($status, $output, $errors) = $standby->psql($db, q{SELECT scoreboard_import('global', '{bob}', '{1}', 'r')}, extra_params => ['-v', 'VERBOSITY=verbose']);
like($errors, qr/25006: cannot execute scoreboard_import\(\) during recovery/, 'it imports nothing, and says so');

# What the standby does not receive any more
$standby->stop;
add_score($primary, $db, 'global', 'anna', 30);
my $lost = wait_for_list($primary, $db, 'global', '30');
$primary->stop('immediate');

$standby->start;
$standby->promote;
wait_for_publisher($standby, $db);
($status, $output, $errors) = $standby->psql($db, q{SELECT scoreboard.redeem_ticket('none')}, extra_params => ['-v', 'VERBOSITY=verbose']);
like($errors, qr/PT401: /, 'promoted, it has their table');
cmp_ok(wait_for_version($standby, $db, 'global', $version + 1), '>', $lost,
	'a promotion publishes anew, newer than what was lost');
is(wait_for_list($standby, $db, 'global', '20'), version($standby, $db, 'global'), 'the list is what was not lost');
add_score($standby, $db, 'global', 'anna', 40);
cmp_ok(wait_for_list($standby, $db, 'global', '40'), '>', 0, 'the new primary goes on publishing');

$standby->stop;
done_testing();
