# The README's recipes for administrators: each is run as it stands, in order, by somebody who has no more rights than it says, and does what
# it is for.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use ScoreboardTest;
use Test::More;

my ($section) = slurp_file('README.md') =~ /^(### Recipes for administrators\n.*?)^#{2,3} /ms or die 'README.md has no such section';
my @recipes;
push @recipes, { lead => $1, sql => $2 } while $section =~ /\G.*?\n\n((?:(?!\n\n).)*?)\n\n```sql\n(.*?)^```$/gms;

my $node = new_node('recipes', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, "SET client_min_messages = warning; $_[0]"); }

sql(q{CREATE ROLE ops LOGIN; SELECT scoreboard_grant_access('ops', 'admin'); GRANT pg_monitor TO ops;
	SELECT scoreboard_create_key('game-server');
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('COMPLETE_LEVEL', 'trusted', 100);
	INSERT INTO scoreboard.board (name) VALUES ('summer')});
sql("SELECT FROM scoreboard_increment_for('$_', 'COMPLETE_LEVEL', 'global-$_')") foreach qw(ada ada-2 cheat-1 cheat-2);
sql(q{SELECT FROM scoreboard_increment_for('ada', 'COMPLETE_LEVEL', 'second'); SELECT FROM scoreboard_increment_for('ada', 'COMPLETE_LEVEL', 'summer', 'summer')});
$node->psql($db, q{SELECT scoreboard_increment_for('ada', 'NO_SUCH_TYPE', 'refused')});
wait_until($node, $db, q{(SELECT refusals <> '{}' FROM scoreboard_stats() WHERE board = 'global')}, 'the refusal is counted');

# What each prints, in the order of the README; what is done before it.
my @expected = (
	{ prints => qr/^1\|ada\|[^|]*\|200\|.*^COMPLETE_LEVEL\|2\|200\|/ms },
	{ prints => qr/second.*\n.*global-ada\b/ },
	{ prints => qr/^ACTION_NOT_ALLOWED\|there is no action type "NO_SUCH_TYPE"\|1\|1\|0\|.*^global\|\{"ACTION_NOT_ALLOWED": 1\}$/ms },
	{ prints => qr/\bada\b.*\b150\b/ },
	{ prints => qr/^cheat-1\|\ncheat-2\|$/m },
	{ prints => qr/^$/ },
	{ prints => qr/^global\|[0-9]+\|[1-9][0-9]*\|[1-9]/m },
	{ prints => qr/ MB\|.*^global\|2\|/ms },
	{ prints => qr/^scoreboard publisher\|game\|/m },
	{ prints => qr/^[0-9a-f]{64}\ngame-server\|.*\ngame-server-2\|/m },
	{ prints => qr/^$/ },
	{ prints => qr/^$/, owner => 1 },
	{ prints => qr/^global\|1\|.*^global\|1\|score differs from the action log\|ada\|150\|157\|f\n.*\|ada\|150\|157\|t\n0$/ms,
		before => q{UPDATE scoreboard.score SET score = score + 7 WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'ada'); SELECT FROM scoreboard_verify()} });
is(scalar @recipes, scalar @expected, 'each recipe is known here');
foreach my $recipe (@recipes)
{
	my $expected = shift @expected;
	my ($name) = $recipe->{lead} =~ /(?:\*\*|^)(.{1,40})/;

	sql($expected->{before}) if $expected->{before};
	is($recipe->{lead} =~ /owner/ ? 1 : 0, $expected->{owner} // 0, "$name: it says who may");
	my ($status, $printed, $errors) = $node->psql($db, "SET client_min_messages = warning; $recipe->{sql}", on_error_stop => 1, $expected->{owner} ? () : (extra_params => [ '-U', 'ops' ]));
	is("$status $errors", '0 ', "$name: it runs");
	like($printed, $expected->{prints}, "$name: it prints what it is for");
}
is(sql(q{SELECT string_agg(user_id || ' ' || state, ', ' ORDER BY user_id) FROM scoreboard.player WHERE user_id LIKE 'cheat%'}), 'cheat-1 banned, cheat-2 banned', 'the ring is banned');
is(sql(q{SELECT publish_interval_ms FROM scoreboard.board WHERE name = 'global'}), 1000, 'the list is published once a second');
is(sql(q{SELECT count(*) FROM scoreboard.board WHERE name = 'summer'}), 0, 'the board is gone');
is(sql(q{SELECT count(*) FROM scoreboard.action WHERE action_id = 'summer'}), 1, 'its log stays');
is(sql(q{SELECT findings FROM scoreboard_stats() WHERE board = 'global'}), 0, 'nothing differs any more');
$node->stop;
done_testing();
