# The log of actions is purged while everything goes on: kill -9 of the server at any moment of it, beside writers, takes no point and
# counts none twice; a snapshot that is kept, a player who is acting, a row that is locked, a synchronous standby that doesn't answer
# hold nothing up. A log of 120,000 actions goes in steps of 100.
# Needs a server to kill, sessions that sit on something, and a log of many rows.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $db = 'game';
my $players = 2000;
my $kills = 4;
my $node = new_node('retention', streaming => 1, conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
restart_after_crash = off
autovacuum_naptime = 1s
EOT
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

# So many actions of each player as increments leave them, from 60 days ago to 20; and for each transaction, how many rows it took.
sub old_actions
{
	my ($name, $each, $subscore) = @_;

	sql(<<"EOT");
		INSERT INTO scoreboard.action (player_id, action_id, board_id, season, action_type_id, applied_points, previous_score, score, version, created_at, client_address, request_id, subscore)
			SELECT p.player_id, '$name' || n, 1, 1, 1, 1, n - 1, n, 1, now() - interval '60 days' + n * interval '40 days' / $each, '192.0.2.1', 'request-' || n, $subscore
			FROM generate_series(1, $each) AS n, scoreboard.player p WHERE p.user_id ~ '^p\\d' ORDER BY n, p.player_id;
		UPDATE scoreboard.score s SET score = score + $each, subscore = $subscore FROM scoreboard.player p WHERE p.player_id = s.player_id AND p.user_id ~ '^p\\d'
EOT
	return;
}

sub wait_for_pass
{
	wait_until($node, $db, 'NOT scoreboard.purge_due()', "the log was gone over ($_[0])");
	return;
}

sub verified
{
	is(sql('SET client_min_messages = error; SELECT * FROM scoreboard_verify()'), '', "$_[0]: nothing differs");
	return;
}

my $old = q{count(*) FROM scoreboard.action WHERE created_at < now() - interval '11 days'};

sql(<<"EOT");
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('HIT', 'trusted', 1);
INSERT INTO scoreboard.player (user_id) SELECT 'p' || n FROM generate_series(1, $players) AS n;
INSERT INTO scoreboard.score SELECT 1, 1, player_id, 0, now() - interval '60 days' FROM scoreboard.player;
CREATE TABLE step (kind text, xid xid8);
CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.step VALUES (TG_OP, pg_current_xact_id()); RETURN NULL; END';
CREATE TRIGGER note_step AFTER DELETE OR UPDATE ON scoreboard.action FOR EACH ROW EXECUTE FUNCTION note_step();
EOT
old_actions('old', 60, 7);
is(sql("SELECT $old"), 60 * $players, 'there is an old log');
my $sum = sql('SELECT sum(score) FROM scoreboard.score');
verified('before');

# ------------------------------------------------------------------------
# kill -9 beside writers
# ------------------------------------------------------------------------

my $parent = $$;
my $directory = PostgreSQL::Test::Utils::tempdir;
my $connection = $node->connstr($db);

# Asks again, under the same idempotency key, until it has an answer; what was answered is noted. Ends when the file "stop" is there.
sub write_actions
{
	my ($writer) = @_;
	my $next = 1;

	open(my $noted, '>', "$directory/writer$writer") or die $!;
	$noted->autoflush(1);
	until (-e "$directory/stop" || getppid() != $parent)
	{
		open(my $script, '>', "$directory/script$writer") or die $!;
		foreach my $n ($next .. $next + 99)
		{
			my $player = 'p' . (1 + ($n * 7 + $writer) % $players);
			print $script "SELECT 'counted', score FROM scoreboard_increment_for('$player', 'HIT', 'w$writer-$n', idempotency_key => 'k');\n";
		}
		close($script);
		open(my $answers, '-|', "psql -XAtq -v ON_ERROR_STOP=1 -d '$connection' -f '$directory/script$writer' 2>/dev/null") or die $!;
		while (my $line = <$answers>)
		{
			last unless $line =~ /^counted\|\d+\n\z/;
			print $noted $line;
			$next++;
		}
		close($answers);
		usleep(10_000);
	}
	return;
}

sub acknowledged
{
	my @lines = map { split(/\n/, slurp_file($_)) } grep { -e $_ } map { "$directory/writer$_" } 1 .. 2;

	return scalar(@lines);
}

my @children = map { start_child(\&write_actions, $_) } 1 .. 2;

sql(q{SELECT scoreboard_set_retention('10 days', '5 days')});
foreach my $kill (1 .. $kills)
{
	my $goal = int((rand() + $kill - 1) * 60000 / $kills);

	wait_until($node, $db, "actions_purged > $goal FROM scoreboard.purge", "more than $goal actions are purged");
	kill_and_start($node);
	is(sql(q{SET client_min_messages = error; SELECT count(*) FROM scoreboard_verify() WHERE user_id IS NOT NULL}), 0, "killed when $goal were purged: nothing differs");
}
cmp_ok(sql("SELECT $old"), '>', 20000, 'there is some left');

# ------------------------------------------------------------------------
# A snapshot, a player who is acting, a locked row
# ------------------------------------------------------------------------

my $seen = q{SELECT count(*) || ' ' || sum(applied_points) FROM scoreboard.action};
my $snapshot = $node->background_psql($db);
$snapshot->query_safe('SET client_min_messages = error; BEGIN ISOLATION LEVEL REPEATABLE READ');
my $seen_first = $snapshot->query_safe($seen);
my $actor = $node->background_psql($db);
$actor->query_safe(q{BEGIN; SELECT score FROM scoreboard_increment_for('p7', 'HIT', 'held')});
my $locker = $node->background_psql($db);
$locker->query_safe(q{BEGIN; SELECT FROM scoreboard.action WHERE action_id = 'old60' AND player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'p8') FOR UPDATE});
wait_for_pass('beside sessions that sit on something');
is(sql(qq{SELECT string_agg(DISTINCT user_id, ' ' ORDER BY user_id) || ' ' || count(*) FILTER (WHERE user_id = 'p8') FROM scoreboard.action JOIN scoreboard.player USING (player_id)
	WHERE scoreboard.action.created_at < now() - interval '11 days'}), 'p7 p8 1', 'everything goes but what is in use');
is($snapshot->query_safe($seen), $seen_first, 'a snapshot that was kept sees what it saw');
is($snapshot->query_safe(q{SELECT count(*) FROM scoreboard_verify('global') WHERE user_id IS NOT NULL}), 0, 'and verifies what is committed');
foreach my $session ($snapshot, $actor, $locker)
{
	$session->query_safe('COMMIT');
	$session->quit;
}

append_to_file("$directory/stop", '');
waitpid($_, 0) foreach @children;
sql(q{SELECT scoreboard_set_retention('10 days', '5 days')});
wait_for_pass('once more');
is(sql("SELECT $old"), 0, 'what was in use goes the next time');
my $acknowledged = acknowledged();
cmp_ok($acknowledged, '>', 100, "writers went on ($acknowledged)");
is(sql('SELECT sum(score) FROM scoreboard.score'), $sum + $acknowledged + 1, 'every acknowledged increment is in the sum, once');
is(sql(q{SELECT (SELECT sum(applied_points) FROM scoreboard.balance) || ' ' || (SELECT count(*) FROM scoreboard.action)}), "$sum " . ($acknowledged + 1), 'what was purged is in the balances');
verified('after');
is(sql('SELECT sum(actions_purged) FROM scoreboard_retention()'), 60 * $players, 'purged actions are counted');
my ($steps, $largest) = split(/\|/, sql(q{SELECT count(*), max(n) FROM (SELECT count(*) AS n FROM step WHERE kind = 'DELETE' GROUP BY xid) AS steps}));
cmp_ok($largest, '<=', 100, "no step took more than 100 rows ($steps steps)");
cmp_ok($steps, '>=', 60 * $players / 100, 'in so many transactions');

# ------------------------------------------------------------------------
# Addresses alone; a synchronous standby that isn't there
# ------------------------------------------------------------------------

sql('TRUNCATE step; SELECT scoreboard_set_retention()');
old_actions('addressed', 15, 'NULL');
sql(q{SELECT pg_stat_reset(); SELECT scoreboard_set_retention(NULL, '5 days')});
wait_until($node, $db, 'addresses_removed > 0 FROM scoreboard.purge', 'addresses are being removed');
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
wait_until($node, $db, q{current_setting('synchronous_standby_names') = 'nobody'}, 'commits wait for a standby that is not there');
cmp_ok(sql(q{SELECT count(*) FROM scoreboard.action WHERE client_address IS NOT NULL}), '>', 0, 'there are addresses left');
wait_for_pass('without a standby');
is(sql(q{SELECT count(*) FILTER (WHERE client_address IS NOT NULL OR request_id IS NOT NULL) || ' ' || count(*) FROM scoreboard.action WHERE action_id LIKE 'addressed%'}), '0 ' . 15 * $players,
	'addresses and request ids are gone, the actions are not');
is(sql(q{SELECT max(n) <= 128 FROM (SELECT count(*) AS n FROM step WHERE kind = 'UPDATE' GROUP BY xid) AS steps}), 't', 'in steps, too');
note(sql(q{SELECT 'HOT: ' || n_tup_hot_upd || ' of ' || n_tup_upd FROM pg_stat_user_tables WHERE relid = 'scoreboard.action'::regclass}));
verified('without addresses');
$node->adjust_conf('postgresql.conf', 'synchronous_standby_names', "''");
$node->reload;

# ------------------------------------------------------------------------
# The worker ends with the publisher, and what holds up its work for long is tried again
# ------------------------------------------------------------------------

$locker = $node->background_psql($db);
$locker->query_safe('BEGIN; LOCK TABLE scoreboard.balance IN EXCLUSIVE MODE');
my $offset = -s $node->logfile;
sql(q{SELECT scoreboard_set_retention('10 days')});
$node->wait_for_log(qr/canceling statement due to lock timeout/, $offset);
is(sql(q{SELECT score > 0 FROM scoreboard_increment_for('p1', 'HIT', 'beside')}), 't', 'a table that is locked for long holds up no increment');
$locker->query_safe('COMMIT');
$locker->quit;
wait_until($node, $db, 'actions_purged > ' . 60 * $players . ' FROM scoreboard.purge', 'the purge goes on when it can');
wait_for_pass('in the end');
verified('in the end');

# A pass under way, in a database that goes: one that is slow, so that it is still under way when we have seen it. Its copy is not.
sql('SELECT scoreboard_set_retention()');
old_actions('dropped', 15, 'NULL');
my $purged = sql(q{SELECT actions_purged FROM scoreboard.purge});
sql(<<"EOT");
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END';
CREATE TRIGGER slow BEFORE UPDATE ON scoreboard.purge FOR EACH ROW WHEN (current_database() = '$db' AND NEW.actions_purged > $purged + 1000) EXECUTE FUNCTION slow();
EOT
sql(q{SELECT scoreboard_set_retention('10 days')});
wait_until($node, $db, "actions_purged > $purged AND next_block IS NOT NULL FROM scoreboard.purge", 'a pass is under way');
$node->safe_psql('postgres', "CREATE DATABASE copied TEMPLATE $db");
is($node->safe_psql('copied', 'SET client_min_messages = error; SELECT count(*) FROM scoreboard_verify() WHERE user_id IS NOT NULL'), 0, 'a copy in the middle of a pass differs in nothing');
wait_until($node, 'copied', "NOT scoreboard.purge_due()", 'and goes on with it');
is($node->safe_psql('copied', "SELECT $old"), 0, 'to its end');
$node->safe_psql('postgres', 'DROP DATABASE copied');
sql('DROP EXTENSION scoreboard CASCADE');
wait_until($node, $db, q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'scoreboard purger')}, 'the purger ends with the extension');
is(sql(q{SELECT count(*) FROM pg_extension WHERE extname = 'scoreboard'}), 0, 'and holds up nobody who drops the extension');

$node->stop;
done_testing();
