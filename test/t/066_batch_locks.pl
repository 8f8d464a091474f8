# A batch never waits for one player: while a session sits on its own player's lock, that player's row says UNAVAILABLE and its 99
# neighbours are counted; and batches that share all their players, in whatever order they name them, never deadlock.
# No time is measured: a batch that waited could not end, since the transaction in its way ends only when the answer is there.
# test/specs/batch_beside_single.spec has the same with few players and every order of events; this one needs a batch of real
# size, a say about who comes first among its locks, and many sessions at once.
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

my $players = 100;
my $sessions = 6;
my $rounds = 3;    # of each session: batches of all players
my $patience = $PostgreSQL::Test::Utils::timeout_default;

# Receipts are signed before they are needed. statement_timeout is the net under a batch that waits: no answer depends on it.
my $node = new_node('batch', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.receipt_window = 1h
EOT
create_database($node, 'game');
$node->safe_psql('game', "ALTER DATABASE game SET statement_timeout = '${patience}s'");
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
$node->safe_psql('game', qq{
	-- Player n is "pn", and its requests are worth n points.
	CREATE TABLE request (batch text, n int, previous bigint, body json, PRIMARY KEY (batch, n));
	CREATE TABLE outcome (batch text, n int, status int, code text, retry_after int, body json);
	CREATE VIEW uncounted AS
		SELECT * FROM request r WHERE NOT EXISTS (SELECT FROM outcome o WHERE o.batch = r.batch AND o.n = r.n AND o.status = 200);
	CREATE VIEW player_score AS SELECT p.user_id, s.score FROM scoreboard.player p JOIN scoreboard.score s USING (player_id);
	CREATE FUNCTION sign_batch(new_batch text, first int DEFAULT 1, last int DEFAULT $players) RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO request
			SELECT new_batch, n, coalesce((SELECT score FROM player_score WHERE user_id = 'p' || n), 0),
				json_build_object('actionType', 'SCORE_RUN', 'actionId', new_batch, 'points', n, 'issuedAt', now, 'idempotencyKey', 'key-' || new_batch,
					'receipt', sign.receipt('p' || n, 'SCORE_RUN', new_batch, points => n, issued_at => now), 'token', sign.token('p' || n))
			FROM generate_series(first, last) n, sign.now() now
	\$\$;
	-- Sends what is not counted yet of a batch, as one batch.
	CREATE FUNCTION submit(sent_batch text, downwards boolean DEFAULT false) RETURNS void LANGUAGE sql AS \$\$
		WITH sent AS (
			SELECT array_agg(n ORDER BY place) AS numbers, json_agg(body ORDER BY place) AS requests
			FROM uncounted, LATERAL (SELECT CASE WHEN downwards THEN -n ELSE n END) t (place) WHERE batch = sent_batch)
		INSERT INTO outcome SELECT sent_batch, numbers[ordinal], status, body -> 'error' ->> 'code', retry_after, body
			FROM sent, scoreboard_submit(requests)
	\$\$;
	-- Again and again, a transaction each, until only the one player's request is left over.
	CREATE PROCEDURE submit_all(sent_batch text, downwards boolean, but_for int) LANGUAGE plpgsql AS \$\$
	BEGIN
		WHILE EXISTS (SELECT FROM uncounted WHERE batch = sent_batch AND n <> but_for) LOOP
			PERFORM submit(sent_batch, downwards);
			COMMIT;
		END LOOP;
	END
	\$\$;
	-- The players in the order in which a batch takes their locks: by a hash that differs from server start to server start.
	CREATE FUNCTION lock_order() RETURNS SETOF int LANGUAGE plpgsql AS \$\$
	BEGIN
		CREATE TEMP TABLE place (n int, high oid, low oid) ON COMMIT DROP;
		FOR i IN 1..$players LOOP
			PERFORM scoreboard.lock_player('p' || i);
			INSERT INTO place SELECT i, classid, objid FROM pg_locks
				WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND (classid, objid) NOT IN (SELECT high, low FROM place);
		END LOOP;
		RETURN QUERY SELECT n FROM place ORDER BY high::bigint, low::bigint;
	END
	\$\$;
	-- Half of the players have a score already.
	SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'start', points => 1000)) FROM generate_series(1, $players, 2) n});

sub sql { return $node->safe_psql('game', $_[0]); }

# Everything counted once: the log's sum is the scores', each player has what its actions gave.
sub sums_agree
{
	my ($name) = @_;

	is(sql(q{
		SELECT count(*) FROM scoreboard.score s FULL JOIN (SELECT player_id, sum(applied_points) AS points FROM scoreboard.action GROUP BY 1) a USING (player_id)
		WHERE s.score IS DISTINCT FROM a.points}), 0, "$name: each score is the sum of its player's actions");
	is(sql('SELECT sum(applied_points) - (SELECT sum(score) FROM scoreboard.score) FROM scoreboard.action'), 0, "$name: and the whole sum is the same");
	return;
}

# A session with an open transaction that has counted an action of this player.
sub hold
{
	my ($player, $action) = @_;
	my $holder = $node->background_psql('game');

	$holder->query_safe('BEGIN');
	$holder->query_safe("SELECT scoreboard_increment_for('p$player', 'AWARD', '$action', points => 5000)");
	return $holder;
}

# Nothing has moved it meanwhile: its transaction is the same, waits for its client, and has the player's lock.
sub still_holds
{
	my ($name) = @_;

	is(sql(q{
		SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory' AND l.granted
		WHERE a.state = 'idle in transaction'}), 1, "$name: the other transaction is open and idle");
	return;
}

my @lock_order = split /\n/, sql('SELECT lock_order()');
is(scalar(@lock_order), $players, 'each player has a lock of its own');

# The player that is held comes first, so that the batch has used up its patience before it comes to any neighbour; or last.
foreach my $case ([ 'first', $lock_order[0], 'COMMIT', 5000 ], [ 'last', $lock_order[-1], 'ROLLBACK', 0 ])
{
	my ($name, $held, $end, $held_points) = @$case;

	sql("SELECT sign_batch('$name')");
	my $holder = hold($held, "held $name");
	my ($status, undef, $errors) = $node->psql('game', "SELECT submit('$name')");
	is($status, 0, "$name: the batch ends") or diag($errors);
	still_holds($name);
	is(sql(qq{
		SELECT count(*), bool_and(o.body ->> 'userId' = 'p' || n), bool_and((o.body ->> 'appliedPoints')::bigint = n),
			bool_and((o.body ->> 'previousScore')::bigint = r.previous), bool_and((o.body ->> 'score')::bigint = r.previous + n)
		FROM outcome o JOIN request r USING (batch, n) WHERE batch = '$name' AND status = 200 AND n <> $held}),
		$players - 1 . '|t|t|t|t', "$name: the 99 neighbours are counted");
	is(sql(qq{SELECT count(*) FROM request r JOIN player_score s ON s.user_id = 'p' || n WHERE batch = '$name' AND s.score = r.previous + n}),
		$players - 1, "$name: and everybody sees it");
	is(sql("SELECT n, status, code, retry_after >= 1, body -> 'error' ->> 'code' FROM outcome WHERE batch = '$name' AND (status <> 200 OR n = $held)"),
		"$held|503|UNAVAILABLE|t|UNAVAILABLE", "$name: the player itself is to come again");

	$holder->query_safe($end);
	$holder->quit;
	sql("SELECT submit('$name')");
	is(sql(qq{
		SELECT (o.body ->> 'score')::bigint - r.previous, o.body ->> 'replayed'
		FROM outcome o JOIN request r USING (batch, n) WHERE batch = '$name' AND n = $held AND status = 200}),
		$held_points + $held . '|false', "$name: after the other's $end it is counted");
	is(sql("SELECT count(*), count(DISTINCT n) FILTER (WHERE status = 200) FROM outcome WHERE batch = '$name'"),
		$players + 1 . "|$players", "$name: and nothing was sent twice");
	sums_agree($name);
}

# Two open transactions, each of which asks for the players that the other one has: whoever waited would wait for ever.
my %half = ('low' => '1, ' . $players / 2, 'high' => $players / 2 + 1 . ", $players");
sql("SELECT sign_batch('$_-of-one', $half{$_}), sign_batch('$_-of-two', $half{$_})") foreach keys %half;
my ($one, $two) = map { $node->background_psql('game') } 1 .. 2;
$_->query_safe('BEGIN') foreach ($one, $two);
$one->query_safe("SELECT submit('low-of-one')");
$two->query_safe("SELECT submit('high-of-two', true)");
$one->query_safe("SELECT submit('high-of-one')");
$two->query_safe("SELECT submit('low-of-two', true)");
foreach my $session ($one, $two)
{
	$session->query_safe('COMMIT');
	$session->quit;
}
is(sql(q{SELECT batch, status, code, count(*) FROM outcome WHERE batch LIKE '%-of-%' GROUP BY 1, 2, 3 ORDER BY 1}),
	"high-of-one|503|UNAVAILABLE|50\nhigh-of-two|200||50\nlow-of-one|200||50\nlow-of-two|503|UNAVAILABLE|50", 'crosswise: neither waits for the other');
sql("SELECT submit('high-of-one'), submit('low-of-two')");
is(sql(q{SELECT count(*) FROM uncounted}), 0, 'crosswise: what was left over is counted afterwards');
sums_agree('crosswise');

# Many sessions, each with its own requests of the same players, every other one in the opposite order. They set off together.
sub start_sessions
{
	my ($but_for) = @_;
	my $gate = $node->background_psql('game');
	my @running;

	$gate->query_safe('SELECT pg_advisory_lock(1)');
	foreach my $session (1 .. $sessions)
	{
		my $output = '';
		my $downwards = $session % 2 ? 'true' : 'false';
		my @commands = map { ('-c', "CALL submit_all('s$session-$_', $downwards, $but_for)") } 1 .. $rounds;

		push @running, { output => \$output, harness => IPC::Run::start(
				[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('game'), '-c', 'SELECT pg_advisory_lock_shared(1)',
					'-c', 'SELECT pg_advisory_unlock_shared(1)', @commands ], '<', '/dev/null', '>', '/dev/null', '2>', \$output) };
	}
	wait_until($node, 'game', "count(*) = $sessions FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted", 'all sessions are at the gate');
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	$gate->quit;
	return @running;
}

sub all_end
{
	my ($name, @running) = @_;

	foreach my $session (@running)
	{
		ok($session->{harness}->finish, "$name: a session comes to its end") or diag(${ $session->{output} });
	}
	return;
}

my $held = $lock_order[0];
my $batches = $sessions * $rounds;
my $start = -s $node->logfile;
my $before = sql('SELECT sum(applied_points) FROM scoreboard.action');
sql("SELECT sign_batch('s' || s || '-' || r) FROM generate_series(1, $sessions) s, generate_series(1, $rounds) r");
my $holder = hold($held, 'held by all');
all_end('together', start_sessions($held));
still_holds('together');
is(sql("SELECT count(*), count(DISTINCT n), min(n) FROM uncounted WHERE batch LIKE 's%'"), "$batches|1|$held", 'together: all but the player itself are counted');
is(sql("SELECT count(*) FROM outcome WHERE batch LIKE 's%' AND n = $held AND status = 200"), 0, 'together: and it is not');
$holder->query_safe('COMMIT');
$holder->quit;
all_end('one player', start_sessions(0));

# SPEC: a row is counted, or says UNAVAILABLE.
note(sql("SELECT count(*) FROM outcome WHERE batch LIKE 's%' AND status <> 200 AND n <> $held"), ' rows had to be sent again for other players');
is(sql(q{SELECT DISTINCT status, code, retry_after >= 1 FROM outcome WHERE batch LIKE 's%' ORDER BY 1}), "200||\n503|UNAVAILABLE|t", 'together: no other outcome');
is(sql(q{SELECT count(*), count(DISTINCT (batch, n)), bool_or((body ->> 'replayed')::boolean) FROM outcome WHERE batch LIKE 's%' AND status = 200}),
	join('|', $batches * $players, $batches * $players, 'f'), 'together: each request is counted once');
is(sql("SELECT count(*), sum(applied_points) FROM scoreboard.action WHERE action_id LIKE 's%-%'"),
	join('|', $batches * $players, $batches * $players * ($players + 1) / 2), 'together: and each has its points');
is(sql('SELECT sum(applied_points) FROM scoreboard.action'), $before + 5000 + $batches * $players * ($players + 1) / 2, 'together: with what the holder did');
sums_agree('together');
unlike(substr(slurp_file($node->logfile), $start), qr/deadlock detected/, 'together: no deadlock');
is(sql('SET client_min_messages = warning; SELECT * FROM scoreboard_verify()'), '', 'nothing differs');

$node->stop;
done_testing();
