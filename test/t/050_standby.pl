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
like($errors, qr/PT503: this server is a standby and can't make or redeem tickets/, 'it has no tickets, and says so');

# Whoever wants to write is sent to the primary, and not told of transactions.
foreach my $call (
	q{increment_for('anna', 'AWARD', 'a', points => 1)}, q{increment('AWARD', 'a', points => 1, token => 'x')}, q{set_listed(false, token => 'x')},
	q{set_profile('anna', 'Anna', NULL)}, q{set_labels('anna', '{}')}, q{create_grant('anna', 'AWARD')}, q{create_session_key('anna')}, q{revoke_session_keys('anna')}, q{ban('anna')},
	q{adjust('anna', 'global', 1, 'why', 'reference')}, q{undo('anna', 'first', 'why')}, q{forget('anna')}, q{import('global', '{bob}', '{1}', 'reference')},
	q{create_key('key')}, q{rotate_key('key', 'new')}, q{revoke_key('key')}, q{set_issuer('https://a.test', '{"keys": []}')}, q{remove_issuer('https://a.test')},
	q{create_consumer('reader', true)}, q{acknowledge('reader', 0)}, q{drop_consumer('reader')}, q{reset_season('global')}, q{set_label_boards('global', 'country', '{de}')},
	q{grant_access('postgres', 'reader')}, q{revoke_access('postgres')}, q{setup('postgrest', service => 'postgres', authenticator => 'postgres')},
	q{set_verifier('AWARD', NULL)}, q{set_retention('30 days')}, q{watch()}, q{clear_flag(1)}, q{repair()})
{
	($status, $output, $errors) = $standby->psql($db, "SELECT scoreboard_$call", extra_params => ['-v', 'VERBOSITY=verbose']);
	like($errors, qr/PT503: this server is a standby and can't /, "on the standby: $call");
}
is($standby->safe_psql($db, q{SELECT (SELECT score FROM scoreboard_top()) || (scoreboard_rank('anna') ->> 'rank') || jsonb_array_length(scoreboard_view()::jsonb -> 'entries')
	|| (SELECT count(*) FROM scoreboard_around('anna')) || (SELECT count(*) FROM scoreboard_ranks('{anna}')) || (SELECT players FROM scoreboard_boards())
	|| (SELECT count(*) FROM scoreboard_history_for('anna'))}), '201111' . $primary->safe_psql($db, q{SELECT '1' || count(*) FROM scoreboard_history_for('anna')}), 'whoever reads is answered');

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
