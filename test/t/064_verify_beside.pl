# scoreboard_verify() and scoreboard_repair() hold up nobody: beside an idle transaction that has counted an action, on a board whose tree
# differs from its table, they come to their end while other sessions count. And a transaction's own changes are no difference.
# No time is measured: what waited for the idle transaction could not end, since that ends last.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

# The timeout is the net under what waits: no answer depends on it.
my $patience = $PostgreSQL::Test::Utils::timeout_default / 3;
my $node = new_node('beside', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nstatement_timeout = '${patience}s'\nclient_min_messages = error\n");
create_database($node, 'game');
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
sub sql { return $node->safe_psql('game', $_[0]); }

sql(q{SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'first', points => n)) FROM generate_series(1, 20) n});
sql('SELECT sign.wait_for_ranks()');

# A row changes and the tree misses it. In sessions of their own, since this is noted nowhere.
sub change_unseen
{
	my ($statement) = @_;
	my $switch = q{SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = '%s' WHERE tgrelid = 'scoreboard.score'::regclass AND tgname = 'changed'};

	sql(sprintf($switch, 'D'));
	sql($statement);
	sql(sprintf($switch, 'A'));
	return;
}

sub player { return "(SELECT player_id FROM scoreboard.player WHERE user_id = '$_[0]')"; }

# Another session counts actions until it is told to stop.
my $script = $node->basedir . '/count';
append_to_file($script, qq{\\set n random(6, 15)\n\\set a random(1, 1000000000000)\nSELECT scoreboard_increment_for('p' || :n, 'AWARD', 'c' || :a, points => 1);\n});
my $counter = IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-t', 1000000, '-f', $script, $node->connstr('game') ], '<', '/dev/null', '>', "$script.out", '2>', "$script.err");

sub counting_goes_on
{
	my ($name) = @_;
	my $before = sql('SELECT count(*) FROM scoreboard.action');

	is(sql(q{SELECT (scoreboard_increment_for('p3', 'AWARD', 'while ' || clock_timestamp(), points => 1)).replayed}), 'f', "$name: another player's action is counted");
	wait_until($node, 'game', "count(*) > $before + 20 FROM scoreboard.action", 'the others count on');
	cmp_ok(sql('SELECT count(*) FROM scoreboard.action'), '>', $before + 20, "$name: and those of the others");
	return;
}

# Worth nothing, so that the player's score can be changed beside it.
my $idle = $node->background_psql('game');
$idle->query_safe(q{BEGIN; SELECT scoreboard_increment_for('p1', 'AWARD', 'idle', points => 0)});

counting_goes_on('before');
is(sql('SELECT * FROM scoreboard_verify()'), '', 'nothing differs');

# The tree
change_unseen('UPDATE scoreboard.score SET reached_at = reached_at + interval \'1 us\' WHERE player_id = ' . player('p20'));
my $verifier = $node->background_psql('game');
$verifier->query_safe('BEGIN');
is($verifier->query_safe('SELECT board_name, finding, repaired FROM scoreboard_verify()'), 'global|rank tree differs from the scores|f', 'the tree differs');
counting_goes_on('in the transaction of verify');
$verifier->query_safe('COMMIT; BEGIN');
is($verifier->query_safe('SELECT board_name, finding, repaired FROM scoreboard_repair()'), 'global|rank tree differs from the scores|t', 'it is repaired');
counting_goes_on('in the transaction of repair');
$verifier->query_safe('COMMIT');
sql('SELECT sign.wait_for_ranks()');
is(sql('SELECT * FROM scoreboard_verify()'), '', 'and nothing differs any more');

# Scores of players who are acted for, and of others
sql(q{UPDATE scoreboard.score SET score = score + 1000 WHERE player_id IN (} . player('p1') . ',' . player('p2') . ')');
sql(q{UPDATE scoreboard.score SET listed = false WHERE player_id IN (} . player('p1') . ',' . player('p4') . ')');
$verifier->query_safe('BEGIN');
is($verifier->query_safe('SELECT finding, user_id, repaired FROM scoreboard_repair() WHERE user_id IS NOT NULL ORDER BY 1, 2'),
	join("\n", "listed differs from the player's state|p1|f", "listed differs from the player's state|p4|t",
		'score differs from the action log|p1|f', 'score differs from the action log|p2|t'),
	'what an open transaction holds up is left over, the rest is repaired');
counting_goes_on('in the transaction of that repair');
$verifier->query_safe('COMMIT');

$idle->query_safe('ROLLBACK');
is(sql('SELECT finding, user_id, repaired FROM scoreboard_repair() WHERE user_id IS NOT NULL ORDER BY 1, 2'),
	"listed differs from the player's state|p1|t\nscore differs from the action log|p1|t", 'and repaired the next time');
is(sql('SELECT * FROM scoreboard_verify()'), '', 'nothing differs');
$counter->kill_kill;
is(slurp_file("$script.err"), '', 'the others had no error');
is(sql('SELECT * FROM scoreboard_verify()'), '', 'nor afterwards');

# One's own changes: they are not committed, so no part of what is compared.
foreach my $case (
	[ 'an action',                 q{SELECT scoreboard_increment_for('p1', 'AWARD', 'own', points => 7)} ],
	[ 'a new player\'s',           q{SELECT scoreboard_increment_for('own', 'AWARD', 'own', points => 7)} ],
	[ 'one within a savepoint',    q{SAVEPOINT s; SELECT scoreboard_increment_for('p1', 'AWARD', 'own', points => 7)} ],
	[ 'one that was rolled back',  q{SAVEPOINT s; SELECT scoreboard_increment_for('p1', 'AWARD', 'own', points => 7); ROLLBACK TO s} ],
	[ 'a batch',                   q{SELECT count(*) FROM scoreboard_submit((SELECT json_build_array(json_build_object('actionType', 'FIND_COIN', 'actionId', 'b', 'issuedAt', now,
		'receipt', sign.receipt('p5', 'FIND_COIN', 'b', issued_at => now), 'token', sign.token('p5'))) FROM sign.now() now))} ],
	[ 'a ban',                     q{SELECT scoreboard_ban('p2')} ],
	[ 'hiding, and showing again', q{SELECT scoreboard_hide('p2'), scoreboard_hide('p2', false)} ],
	[ 'scores by hand',            q{UPDATE scoreboard.score SET score = score + 1 WHERE player_id % 2 = 0; DELETE FROM scoreboard.score WHERE player_id % 3 = 0} ])
{
	my ($name, $statements) = @$case;

	foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
	{
		is(sql("\\o /dev/null\nBEGIN ISOLATION LEVEL $level; SELECT 1; $statements;\n\\o\nSELECT * FROM scoreboard_verify(); ROLLBACK"), '',
			"no difference: $name ($level)");
	}
}
is(sql('SELECT * FROM scoreboard_verify()'), '', 'all was rolled back');

$verifier->quit;
$idle->quit;
$node->stop;
done_testing();
