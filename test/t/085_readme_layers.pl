# The README's section about PostgREST and Supabase: its SQL is run as it stands, by somebody who has followed the first five minutes, and
# prints what it says there. Then what is left is set as it says, and nothing is.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use ScoreboardTest;
use Test::More;

my ($section) = slurp_file('README.md') =~ /^(### PostgREST and Supabase\n.*?)^#{2,3} /ms or die 'README.md has no such section';
my ($sql) = $section =~ /^```sql\n(.*?)^```$/ms;
my ($text) = $section =~ /^```text\n(.*?)^```$/ms;

my $node = new_node('layers');
create_database($node, 'game');
$node->safe_psql('game', 'CREATE SCHEMA api; DROP EXTENSION IF EXISTS scoreboard; CREATE EXTENSION scoreboard SCHEMA api CASCADE; ALTER DATABASE game SET search_path = api, public');
my ($status, $printed, $errors) = $node->psql('game', $sql, extra_params => [ '--no-align', '--tuples-only', '--field-separator= | ' ], on_error_stop => 1);
is($status, 0, 'its SQL runs') or diag($errors);
my @rows = map { squeezed($_) } grep { /^ [tf] / } split /\n/, $text;
cmp_ok(scalar @rows, '>', 8, 'it says what that prints');
is(join("\n", map { squeezed($_) } split /\n/, $printed), join("\n", @rows), 'that is what it prints');

my $setup = q{scoreboard_setup('postgrest', anonymous => 'web_anon', authenticated => 'web_player', service => 'game_server')};
$node->safe_psql('game', $_) foreach split /\n/, $node->safe_psql('game', "SELECT statement FROM $setup WHERE NOT done AND statement NOT LIKE '%set_issuer%'");
is($node->safe_psql('game', "SELECT what FROM $setup WHERE NOT done"), 'somebody may issue the tokens whose claims name players', 'what is left is done by running it');
$node->stop;
done_testing();

# A row of a table without what only aligns it.
sub squeezed
{
	my ($row) = @_;

	return join ' | ', map { s/^\s+|\s+$//gr } split /\|/, $row, -1;
}
