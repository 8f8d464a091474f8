# The README's recipe moves a sorted set of Redis over, player by player, in its order; a million at once; beside an open transaction, and
# beside increments. Needs redis-cli and psql's \copy, and other sessions.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $node = new_node('import', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nscoreboard.moderation_wait = 300ms\n");
create_database($node, 'game');
$node->safe_psql('game', q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', 0, 1000); INSERT INTO scoreboard.board (name) VALUES ('other')});
sub sql { return $node->safe_psql('game', $_[0]); }

# The server is the program redis-check-rdb under another name.
my ($program) = grep { -x } map { ("$_/redis-server", "$_/redis-check-rdb") } split(/:/, $ENV{PATH});
my $directory = PostgreSQL::Test::Utils::tempdir_short;
symlink($program, "$directory/redis-server");
mkdir "$directory/bin";
append_to_file("$directory/bin/redis-cli", "#!/bin/sh\nexec " . (grep { -x } map { "$_/redis-cli" } split(/:/, $ENV{PATH}))[0] . " -s $directory/socket \"\$@\"\n");
chmod 0755, "$directory/bin/redis-cli";
my $redis = IPC::Run::start([ "$directory/redis-server", '--port', 0, '--unixsocket', "$directory/socket", '--dir', $directory, '--save', '' ], '<', '/dev/null', '>', "$directory/log", '2>', "$directory/errors");
local $ENV{PATH} = "$directory/bin:$ENV{PATH}";
my ($answer, $tries) = ('', 0);
until ($answer =~ /PONG/ or ++$tries > 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	usleep(100_000);
	$answer = `redis-cli PING 2>&1`;
}
# Ties, members that a careless copy would spoil, fractions.
my %members = ('ann' => 30, 'bob' => 20, 'cy' => 20, 'dan' => 20, 'with "quotes" and \\ and \'' => 25.5, "\x{c3}\x{a4}" => 10, 'a b, c' => 0);
is(system_output('redis-cli', 'ZADD', 'leaderboard', map { ($members{$_}, $_) } sort keys %members), "7\n", 'Redis has a sorted set');
system_output('redis-cli', 'EVAL', q{for i = 1, 5000 do redis.call('ZADD', KEYS[1], i % 100, 'many-' .. i) end}, 1, 'leaderboard');

sub system_output
{
	my @command = @_;
	my $output = '';

	IPC::Run::run(\@command, '<', '/dev/null', '>', \$output);
	return $output;
}

my ($recipe) = slurp_file("$FindBin::RealBin/../../README.md") =~ /### Moving from Redis.*?^```sql\n(.*?)^```$/ms;
like($recipe, qr/scoreboard_import/, 'the README has a recipe');
my ($status, $output, $errors) = $node->psql('game', "SET client_encoding = 'UTF8';\n$recipe");
like($output, qr/^\(global,1,5007,.*,f\)$/, 'all have moved') or diag($errors);
like($node->safe_psql('game', "SET client_encoding = 'UTF8';\n$recipe"), qr/,t\)$/, 'again, nothing more moves');
is(sql('SELECT user_id FROM scoreboard_top(entries => 1000) ORDER BY score DESC, reached_at, rank'), join("\n", (split(/\n/, `redis-cli --raw ZREVRANGE leaderboard 0 -1`))[0 .. 999]), 'in the order of Redis, ties too');
is(sql(q{SELECT string_agg(score::text, ' ' ORDER BY score) FROM scoreboard.score JOIN scoreboard.player USING (player_id) WHERE user_id NOT LIKE 'many-%'}), '0 10 20 20 20 26 30', 'scores are whole numbers');
is(sql(q{SET client_min_messages = error; SELECT * FROM scoreboard_verify()}), '', 'nothing differs');
system_output('redis-cli', 'SHUTDOWN', 'NOSAVE');
eval { $redis->finish };

# An open transaction that acts for a player isn't waited for without end, nobody is ended, and other actions go on meanwhile.
my $held = $node->background_psql('game');
$held->query_safe(q{BEGIN; SELECT scoreboard_increment_for('ann', 'AWARD', 'held', points => 1)});
(undef, undef, $errors) = $node->psql('game', q{SELECT scoreboard_import('other', '{ann}', '{1}', 'held up')});
like($errors, qr/open transaction that acts for players holds up the import.*"UNAVAILABLE","retryAfter":1/s, 'an import that is held up says so');
$held->query_safe('COMMIT');
$held->quit;
is(sql(q{SELECT players, replayed FROM scoreboard_import('other', '{ann}', '{1}', 'held up')}), '1|f', 'later it is done');

# After one that was taken back the planner believes the tables to be empty: what compares them whole goes through none for each row of another.
create_database($node, 'stale');
$node->safe_psql('stale', q{
	ALTER TABLE scoreboard.player SET (autovacuum_enabled = off); ALTER TABLE scoreboard.score SET (autovacuum_enabled = off); ALTER TABLE scoreboard.balance SET (autovacuum_enabled = off);
	CREATE FUNCTION import(many int) RETURNS bigint LANGUAGE sql AS $$ SELECT players FROM scoreboard_import('global', (SELECT array_agg('p' || n) FROM generate_series(1, many) n), (SELECT array_agg(n::bigint) FROM generate_series(1, many) n), 'r') $$});
$node->safe_psql('stale', 'BEGIN; SELECT import(20000); ROLLBACK');
$node->safe_psql('stale', 'VACUUM scoreboard.player, scoreboard.score, scoreboard.balance');
is($node->safe_psql('stale', 'SELECT import(2000)'), 2000, 'some are imported');
my ($status, $found, $plans) = $node->psql('stale', q{LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_level = notice; SELECT * FROM scoreboard_verify()});
my @compared = grep { /FROM scoreboard\.score|\) AS log|FROM log / && !/unnest/ } split(/^(?=Query Text)/m, $plans);
is(scalar @compared, 4, 'four comparisons of whole tables');
unlike(join('', @compared), qr/Nested Loop/, 'none of them by a nested loop');
is($found, '', 'nothing differs');

# More than a commit applies to the ranks one by one, beside increments.
sql(q{ALTER SYSTEM SET scoreboard.moderation_wait = '1min'; SELECT pg_reload_conf()});
my $script = $node->basedir . '/increment';
append_to_file($script, "\\set n random(1, 1000000000)\nSELECT scoreboard_increment_for('many-' || :n % 50, 'AWARD', 'a' || :n, points => 1);\n");
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', $PostgreSQL::Test::Utils::timeout_default, '-f', $script, $node->connstr('game') ], '<', '/dev/null', '>', '/dev/null', '2>', "$directory/pgbench");
wait_until($node, 'game', 'count(*) > 100 FROM scoreboard.action', 'increments are counted');
is(sql(q{SELECT players FROM scoreboard_import('other', (SELECT array_agg('n' || n ORDER BY n) FROM generate_series(1, 110000) n), (SELECT array_agg(n ORDER BY n) FROM generate_series(1, 110000) n), 'large')}), '110000', 'many are imported');
my $counted = sql('SELECT count(*) FROM scoreboard.action');
wait_until($node, 'game', "count(*) > $counted + 100 FROM scoreboard.action", 'increments go on');
$load->signal('INT');
eval { $load->finish };
unlike(slurp_file("$directory/pgbench"), qr/ERROR/, 'none of them failed');
wait_until($node, 'game', q{(SELECT rank_state = 'ready' FROM scoreboard_stats() WHERE board = 'other')}, 'the ranks are built');
is(sql(q{SELECT scoreboard_rank('n77777', 'other') ->> 'rank'}), 110000 - 77777 + 1, 'ranks are exact');
is(sql(q{SET client_min_messages = error; SELECT * FROM scoreboard_verify()}), '', 'nothing differs');

$node->stop;
done_testing();
