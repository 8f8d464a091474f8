# Rate windows that need a server of their own: a table that is full, entries that
# idle ones make room for, databases apart from each other, a restart. And what tells an
# administrator of it: the counters of scoreboard_server_stats(), a line in the log.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ScoreboardTest;
use Test::More;

# 256 kB hold about 2,800 players, each with ten attempts a minute.
my $node = new_node('rate',
	conf => "scoreboard.rate_memory = 256\nscoreboard.burst_limit = 0\n");

# attempts(): how many of these players' attempts were refused with which code. The action type does not
# exist, so that nothing is counted; the rate is checked before that.
sub prepare
{
	my ($database) = @_;

	$node->safe_psql($database, q{
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS scoreboard CASCADE;
		CREATE FUNCTION attempt(user_id text, action_id text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			detail text;
		BEGIN
			PERFORM scoreboard_increment_for(user_id, 'NO_SUCH_TYPE', action_id);
			RETURN 'counted';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			RETURN detail::json ->> 'code';
		END
		$$;
		CREATE FUNCTION attempts(prefix text, first int, last int, action_id text) RETURNS json LANGUAGE sql AS $$
			SELECT json_object_agg(code, n ORDER BY code) FROM
				(SELECT attempt(prefix || i, action_id || i) AS code, count(*) AS n FROM generate_series(first, last) AS i GROUP BY 1) t
		$$});
	return;
}

sub attempts
{
	my ($setting, $call) = @_;
	return $node->safe_psql('postgres', "SET scoreboard.rate_limit = $setting; SELECT attempts($call)");
}

sub stats
{
	my ($columns, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SELECT $columns FROM scoreboard_server_stats()");
}

my $full = qr/WARNING:  scoreboard has no memory for the rate windows of more players/;
my $nearly = qr/WARNING:  scoreboard's rate windows have reached 80 % of their memory/;
sub times_logged { my ($line) = @_; my @lines = slurp_file($node->logfile) =~ /$line/g; return scalar(@lines); }

prepare('postgres');
is(stats('rate_entries, rate_refusals_full, refusals_lost, rate_memory_used, rate_memory, rate_nearly_full'), '0|0|0|0|262144|f', 'a server starts with nothing counted');

# Four fifths of it: said once, when they are reached.
attempts(10, q{'player', 1, 2150, 'fill'});
is(stats('rate_entries, rate_nearly_full, rate_memory_used BETWEEN 2150 * 92 AND 2150 * 96'), '2150|f|t', 'most of the memory is not nearly all of it');
attempts(10, q{'player', 2151, 2300, 'fill'});
is(stats('rate_entries, rate_nearly_full, rate_memory_used >= 0.8 * rate_memory'), '2300|t|t', 'four fifths are');
$node->wait_for_log($nearly);

# At most 96 bytes a player.
my $filled = attempts(10, q{'player', 1, 3000, 'fill'});
my ($refused) = $filled =~ /"UNAVAILABLE" : (\d+)/;
my ($fit) = $filled =~ /"ACTION_NOT_ALLOWED" : (\d+)/;
cmp_ok($fit, '>=', 256 * 1024 / 96, 'players fit into the table');
is($fit + $refused, 3000, 'the others are refused with UNAVAILABLE');
is(stats('rate_capacity'), $fit, 'as many as are said to');
is(stats('rate_entries, rate_refusals_full, rate_entries <= rate_capacity'), "$fit|$refused|t", 'both are counted');
$node->wait_for_log($full);
is(times_logged($full), 1, 'the log says that the table is full');
is(times_logged($nearly), 1, 'and that it would be, once');
like(slurp_file($node->logfile), qr/DETAIL:  It has those of $fit players\..*\n.*HINT:  Raise scoreboard\.rate_memory \(now 256 kB; .*restart the server\./,
	'and what to do about it');
is(attempts(10, q{'stranger', 1, 10, 'a'}), '{ "UNAVAILABLE" : 10 }', 'a full table refuses new players');
is(stats('rate_refusals_full'), $refused + 10, 'each refusal is counted');
# The publisher stores refusals after it has reported, so by now it would have done so again.
wait_until($node, 'postgres', q{EXISTS (SELECT FROM scoreboard.refusal WHERE user_id = 'stranger10')}, 'the last refusal is stored');
is(times_logged($full), 1, 'and not each is logged');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT attempt('player7', 'more' || i)) FROM generate_series(1, 9) i}),
	1, 'who is in the table goes on to its limit');
is($node->safe_psql('postgres', q{SELECT attempt('player7', 'eleventh')}), 'RATE_LIMITED', 'and no further');
is($node->safe_psql('postgres', q{SELECT attempt('player7', 'fill7')}), 'ACTION_NOT_ALLOWED', 'its retries are free');

# With the minute's window off an entry is idle after a second: a stranger takes the place. Only that it happens is waited for.
# It is the place of who was idle for longest, not of who came first: the first player goes on all the while, and keeps its own.
$node->append_conf('postgresql.conf', "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 10\n");
$node->reload;
wait_until($node, 'postgres', q{(ARRAY[attempt('player1', 'on' || clock_timestamp()), attempt('late', 'a')])[2] = 'ACTION_NOT_ALLOWED'}, 'an idle entry gives way');
is($node->safe_psql('postgres', q{SELECT attempt('late', 'a')}), 'ACTION_NOT_ALLOWED', 'an idle entry gives way to a new player, who keeps the place');

$node->append_conf('postgresql.conf', "scoreboard.rate_limit = 10\nscoreboard.burst_limit = 0\n");
$node->restart;
is(stats('rate_entries, rate_refusals_full'), '0|0', 'a restart forgets what was counted');
is(attempts(10, q{'stranger', 1, 10, 'a'}), '{ "ACTION_NOT_ALLOWED" : 10 }', 'windows start empty after a restart');

# The same id in another database is another player.
is(attempts(1, q{'twin', 1, 1, 'a'}), '{ "ACTION_NOT_ALLOWED" : 1 }', 'one attempt here');
is(attempts(1, q{'twin', 1, 1, 'b'}), '{ "RATE_LIMITED" : 1 }', 'and no second');
$node->safe_psql('postgres', 'CREATE DATABASE other');
prepare('other');
is($node->safe_psql('other', q{SET scoreboard.rate_limit = 1; SELECT attempts('twin', 1, 1, 'a')}),
	'{ "ACTION_NOT_ALLOWED" : 1 }', 'one there');
is(stats('rate_entries'), 12, 'both databases count');
is(stats('rate_entries', 'other'), 12, 'and each shows the whole server');

# Less than 70 % in use, and four fifths again, is another warning: twenty-nine players of a thousand attempts take as much as two thousand of ten.
attempts(10, q{'few', 1, 200, 'a'});
is(times_logged($nearly), 1, 'no warning since the restart');
sub attempt_often
{
	$node->safe_psql('postgres', q{SET scoreboard.rate_limit = 1000; SELECT count(attempt('often' || p, 'a' || i)) FROM generate_series(1, 29) p, generate_series(1, 1000) i});
	return;
}
attempt_often();
is(stats('rate_nearly_full'), 't', 'attempts of a few fill it too');
wait_until($node, 'postgres', q{(SELECT count(pg_catalog.set_config('scoreboard.' || s, v, false)) FROM (VALUES ('rate_limit', '0'), ('burst_limit', '1000')) t (s, v)) = 2
	AND (SELECT count(attempt('often' || p, clock_timestamp()::text)) FROM generate_series(1, 29) p) = 29
	AND NOT (SELECT rate_nearly_full FROM scoreboard_server_stats())}, 'they are given back');
attempt_often();
is(stats('rate_nearly_full'), 't', 'and taken again');
$node->wait_for_log(qr/$nearly.*$nearly.*$nearly/s);
is(times_logged($nearly), 3, 'each crossing is said once');

# Thirty-two sessions of one player at the same time: never more than the limit within a minute, and those in full. A slot was taken between
# the two moments around its attempt, so eleven in a row can't all be shown to lie within less than a minute.
$node->safe_psql('postgres', q{CREATE TABLE passed (before timestamptz, after timestamptz);
	CREATE FUNCTION attempt_once(action_id text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		before timestamptz := clock_timestamp();
	BEGIN
		IF attempt('crowded', action_id) = 'ACTION_NOT_ALLOWED' THEN
			INSERT INTO passed VALUES (before, clock_timestamp());
		END IF;
	END
	$$});
my $script = $node->basedir . '/attempt.sql';
append_to_file($script, qq{\\set id random(1, 1000000000)\nSELECT attempt_once(:client_id || ' ' || :id);\n});
$node->command_ok([ 'pgbench', '-n', '-c', 32, '-j', 2, '-t', 30, '-f', $script, 'postgres' ], 'a crowd of sessions of one player');
is($node->safe_psql('postgres', q{SELECT count(*) >= 10, (SELECT count(*) FROM passed a WHERE (SELECT count(*) FROM passed b WHERE b.before >= a.before AND b.after < a.before + interval '59.998 seconds') > 10)
	FROM passed}), 't|0', 'takes the ten slots of a minute, and no more');

# Refusals that can't be stored as fast as they come: 1024 wait for the publisher, and those that gave way are counted.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('LOCK TABLE scoreboard.refusal IN ACCESS EXCLUSIVE MODE');
is(attempts(0, q{'noisy', 1, 3000, 'a'}), '{ "ACTION_NOT_ALLOWED" : 3000 }', 'many refusals');
cmp_ok(stats('refusals_lost'), '>=', 3000 - 1024, 'those that found no place are counted as lost');
$holder->query_safe('COMMIT');
$holder->quit;
wait_until($node, 'postgres', q{count(*) + (SELECT refusals_lost FROM scoreboard_server_stats()) >= 3000 FROM scoreboard.refusal WHERE user_id LIKE 'noisy%'},
	'each refusal is stored or counted as lost');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) + (SELECT refusals_lost FROM scoreboard_server_stats()) FROM scoreboard.refusal WHERE user_id LIKE 'noisy%'}), '>=', 3000, 'each refusal is stored or counted as lost');

# As many are kept as the setting says, the latest.
$node->append_conf('postgresql.conf', "scoreboard.refusals_kept = 50\n");
$node->reload;
is(attempts(0, q{'kept', 1, 60, 'a'}), '{ "ACTION_NOT_ALLOWED" : 60 }', 'refusals beyond those that are kept');
wait_until($node, 'postgres', q{EXISTS (SELECT FROM scoreboard.refusal WHERE user_id = 'kept60')}, 'the last of them is stored');
is($node->safe_psql('postgres', q{SELECT count(*), string_agg(user_id, ' ' ORDER BY refusal_id) FROM scoreboard.refusal}),
	'50|' . join(' ', map { "kept$_" } 11 .. 60), 'the latest are kept, and no more');

$node->stop;
done_testing();
