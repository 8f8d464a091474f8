# The README's recipe that exports a board: run as it stands, it writes every listed player once, in rank order.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use ScoreboardTest;
use Test::More;

my ($section) = slurp_file('README.md') =~ /^(### Exporting a board\n.*?)^#{2,3} /ms or die 'README.md has no such section';
my ($recipe) = $section =~ /^```sh\n(.*?)^```$/ms;

my $node = new_node('export');
create_database($node, 'game');
$node->safe_psql('game', q{
	INSERT INTO scoreboard.player (player_id, user_id, display_name, hidden) SELECT n, 'user ' || n, CASE WHEN n % 2 = 0 THEN 'a "name", with ' || n END, n = 5 FROM generate_series(1, 2500) n;
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed) SELECT board_id, 1, n, n * 7919 % 1000, now(), n <> 5 FROM scoreboard.board, generate_series(1, 2500) n});

my $directory = PostgreSQL::Test::Utils::tempdir();
{
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'game');
	is(system('sh', '-ec', "cd '$directory' && $recipe"), 0, 'the recipe runs');
}
my @truth = split /\n/, $node->safe_psql('game', q{SELECT rank || ',user ' || player_id FROM (SELECT player_id, row_number() OVER (ORDER BY score DESC, reached_at, player_id) AS rank FROM scoreboard.score WHERE listed) s ORDER BY rank});
my @written = split /\n/, slurp_file("$directory/global.csv");
is(scalar @written, 2499, 'a line for each listed player');
is(join("\n", map { join ',', (split /,/)[ 0, 1 ] } @written), join("\n", @truth), 'in rank order');
is(scalar(grep { /"a ""name"", with [0-9]+"/ } @written), 1250, 'with names');
$node->stop;
done_testing();
