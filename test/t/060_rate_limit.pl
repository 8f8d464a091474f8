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

# 256 kB hold 4,000 cells; a player takes three of them.
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
sub times_logged { my @lines = slurp_file($node->logfile) =~ /$full/g; return scalar(@lines); }

prepare('postgres');
is(stats('rate_entries, rate_refusals_full, refusals_lost'), '0|0|0', 'a server starts with nothing counted');

# How many players fit is the layout's business; that it is above a thousand, the documentation's.
my $filled = attempts(10, q{'player', 1, 3000, 'fill'});
my ($refused) = $filled =~ /"UNAVAILABLE" : (\d+)/;
my ($fit) = $filled =~ /"ACTION_NOT_ALLOWED" : (\d+)/;
cmp_ok($fit, '>', 1000, 'players fit into the table');
is($fit + $refused, 3000, 'the others are refused with UNAVAILABLE');
is(stats('rate_entries, rate_refusals_full, rate_entries <= rate_capacity'), "$fit|$refused|t", 'both are counted');
$node->wait_for_log($full);
is(times_logged(), 1, 'the log says that the table is full');
like(slurp_file($node->logfile), qr/DETAIL:  It has those of $fit players\..*\n.*HINT:  Raise scoreboard\.rate_memory \(now 256 kB; .*restart the server\./,
	'and what to do about it');
is(attempts(10, q{'stranger', 1, 10, 'a'}), '{ "UNAVAILABLE" : 10 }', 'a full table refuses new players');
is(stats('rate_refusals_full'), $refused + 10, 'each refusal is counted');
# The publisher stores refusals after it has reported, so by now it would have done so again.
wait_until($node, 'postgres', q{EXISTS (SELECT FROM scoreboard.refusal WHERE user_id = 'stranger10')}, 'the last refusal is stored');
is(times_logged(), 1, 'and not each is logged');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT attempt('player7', 'more' || i)) FROM generate_series(1, 9) i}),
	1, 'who is in the table goes on to its limit');
is($node->safe_psql('postgres', q{SELECT attempt('player7', 'eleventh')}), 'RATE_LIMITED', 'and no further');
is($node->safe_psql('postgres', q{SELECT attempt('player7', 'fill7')}), 'ACTION_NOT_ALLOWED', 'its retries are free');

# With the minute's window off an entry is idle after a second: a stranger takes the place. Only that it happens is waited for.
# It is the place of who was idle for longest, not of who came first: the first player goes on all the while, and keeps its own.
# Ten a second, so that each player takes as much memory as before and the stranger doesn't get by with what others give back.
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
