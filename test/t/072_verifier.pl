# A verifier looks at new actions with its owner's rights and no more: what it answers counts, what it does beside that is gone. Here
# verifiers attack what calls them: they write, stay, hang, swallow cancels, and others try to have theirs run as somebody else.
# Needs sessions that are cancelled and ended.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('verifier', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }
sub stderr_of { my ($status, $output, $errors) = $node->psql($db, $_[0]); return $errors; }

sql(<<'EOT');
CREATE ROLE auditor;
CREATE ROLE mallory;
CREATE ROLE gamer;
SELECT scoreboard_grant_access('auditor', 'admin'), scoreboard_grant_access('mallory', 'admin'), scoreboard_grant_access('gamer', 'player');
CREATE SCHEMA game AUTHORIZATION auditor;
GRANT CREATE, USAGE ON SCHEMA game TO mallory;
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', 1, 100);
INSERT INTO scoreboard.action_type (name, points) VALUES ('LEVEL', 5), ('COIN', 1);
CREATE FUNCTION public.admins_own(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true';
SET ROLE auditor;
CREATE TABLE game.run (id text);
CREATE SEQUENCE game.number;
CREATE FUNCTION game.yes(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true';
CREATE FUNCTION game.nought(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT NULL::boolean';
CREATE FUNCTION game.definer(action jsonb) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT true';
CREATE FUNCTION game.open_path(action jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION game.temp_first(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = game AS 'SELECT true';
CREATE FUNCTION game.bound(action jsonb) RETURNS boolean LANGUAGE sql RETURN true;
CREATE FUNCTION game.text(action text) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true';
CREATE FUNCTION game.int(action jsonb) RETURNS integer LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
CREATE FUNCTION game.many(action jsonb) RETURNS SETOF boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true';
-- Makes whoever calls it an accomplice
CREATE FUNCTION game.trick() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT public.scoreboard_set_verifier('AWARD', 'public.admins_own(jsonb)') $$;
RESET ROLE;
SET ROLE mallory;
CREATE FUNCTION game.mallorys(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true';
RESET ROLE;
-- What a statement answers, or how it is refused
CREATE FUNCTION outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	detail text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN coalesce(answer, '');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, nullif(detail, ''), SQLERRM);
END
$$;
GRANT EXECUTE ON FUNCTION outcome TO PUBLIC;
CREATE FUNCTION written() RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', (SELECT count(*) FROM scoreboard.player), (SELECT count(*) FROM scoreboard.action), (SELECT coalesce(sum(score), 0) FROM scoreboard.score)) $$;
EOT

sub set_verifier { return sql("SET ROLE $_[0]; SELECT outcome(\$o\$ SELECT scoreboard_set_verifier($_[1]) \$o\$)"); }

# Who may set which
my %refused = (
	'another\'s function' => [ q{'AWARD', 'game.mallorys(jsonb)'}, qr/^PT403 \{"code":"ACTION_NOT_ALLOWED"\} only the owner/ ],
	'a superuser\'s function' => [ q{'AWARD', 'public.admins_own(jsonb)'}, qr/^PT403 .*only the owner/ ],
	'SECURITY DEFINER' => [ q{'AWARD', 'game.definer(jsonb)'}, qr/^PT400 \{"code":"INVALID_REQUEST"\} the function is SECURITY DEFINER/ ],
	'no search_path' => [ q{'AWARD', 'game.open_path(jsonb)'}, qr/^PT400 .*search_path of its own that ends with pg_temp/ ],
	'a search_path behind pg_temp' => [ q{'AWARD', 'game.temp_first(jsonb)'}, qr/^PT400 .*ends with pg_temp/ ],
	'another argument' => [ q{'AWARD', 'game.text(text)'}, qr/^PT400 .*one jsonb/ ],
	'another result' => [ q{'AWARD', 'game.int(jsonb)'}, qr/^PT400 .*return boolean/ ],
	'several results' => [ q{'AWARD', 'game.many(jsonb)'}, qr/^PT400 .*return boolean/ ],
	'no such function' => [ q{'AWARD', 'game.none(jsonb)'}, qr/^42883/ ],
	'no such type' => [ q{'NONE', 'game.yes(jsonb)'}, qr/^PT404 \{"code":"NOT_FOUND"\}/ ],
	'more than all' => [ q{'AWARD', 'game.yes(jsonb)', 1.1}, qr/^PT400 .*between 0 and 1/ ],
	'no number' => [ q{'AWARD', 'game.yes(jsonb)', 'NaN'}, qr/^PT400 .*between 0 and 1/ ]);
like(set_verifier('auditor', $refused{$_}[0]), $refused{$_}[1], "$_: refused") foreach sort keys %refused;
like(set_verifier('gamer', q{'AWARD', 'game.yes(jsonb)'}), qr/^42501 permission denied/, 'a player sets none');
like(sql(q{SELECT outcome('SELECT game.trick()')}), qr/^PT403 .*only the owner/, 'an administrator who is tricked into a call lends nobody the own functions');
like(sql(q{SET ROLE auditor; SELECT outcome($$INSERT INTO scoreboard.verifier VALUES (1, 'public', 'admins_own', 'postgres', 1, 'me')$$)}), qr/^42501/, 'nobody writes the table by hand');
is(sql('SELECT count(*) FROM scoreboard.verifier'), 0, 'nothing was set');
is(set_verifier('auditor', q{'AWARD', 'game.bound(jsonb)'}), '', 'a body whose names are bound needs no search_path');

# Makes this body the verifier of AWARD, and has it look at an action; returns the outcome and why the player was flagged.
my $number = 0;

sub verifier
{
	my ($body, $options) = @_;

	$options //= '';
	sql(qq{SET ROLE auditor;
		CREATE OR REPLACE FUNCTION game.check(action jsonb) RETURNS boolean LANGUAGE plpgsql SET search_path = game, pg_temp $options AS \$f\$ $body \$f\$;
		SELECT scoreboard_set_verifier('AWARD', 'game.check(jsonb)')});
	return;
}

sub award { return "SELECT score FROM scoreboard_increment_for('p$_[0]', 'AWARD', 'a', points => 7)"; }

sub reason
{
	my ($user_id) = @_;

	wait_until($node, $db, "EXISTS (SELECT FROM scoreboard.flag WHERE user_id = '$user_id' AND cleared_at IS NULL)", "$user_id is flagged");
	return sql("SELECT reason FROM scoreboard.flag WHERE user_id = '$user_id' AND cleared_at IS NULL");
}

# Refused with this reason, and nothing written
sub is_refused
{
	my ($body, $reason, $name, $before, $after) = @_;
	my $written = sql('SELECT written()');
	my $player = ++$number;

	verifier($body);
	like(sql(($before // '') . '; SELECT outcome($o$ ' . award($player) . ' $o$); ' . ($after // '')),
		qr/^PT403 \{"code":"ACTION_NOT_ALLOWED"\} the action was not verified(\n0)*$/m, "$name: refused");
	like(reason("p$player"), $reason, "$name: flagged, with the reason");
	is(sql('SELECT written()'), $written, "$name: nothing was written");
	return;
}

verifier('BEGIN RETURN true; END');
is(sql(award('good')), 7, 'true: counted');
is(sql('SELECT count(*) FROM scoreboard.flag'), 0, 'and nobody flagged');
is_refused('BEGIN RETURN false; END', qr/^answered false$/, 'false');
is_refused('BEGIN RETURN NULL; END', qr/^answered false$/, 'null');
is_refused('BEGIN RETURN 1 / 0; END', qr/^error 22012: division by zero$/, 'an error');
is_refused(q{BEGIN RAISE EXCEPTION '%', action - 'requestId' - 'issuedAt'; END}, qr/^error P0001: \{"board": "global", "keyId": null, "detail": null, "points": 7, "season": 1, "userId": "p4", "actionId": "a", "metadata": \{\}, "subscore": null, "actionType": "AWARD", "clientAddress": null\}/, 'it sees the action');
is_refused(q{BEGIN RAISE EXCEPTION 'query %, headers %, claims %, as %, session %', current_query(), quote_literal(current_setting('request.headers')), quote_literal(current_setting('request.jwt.claims')), current_user, session_user <> current_user; END},
	qr/^error P0001: query <NULL>, headers '', claims '', as auditor, session t$/, 'not the statement, nor what a layer hands over', q{SET request.headers = '{"authorization": "Bearer x"}'; SET request.jwt.claims = '{"sub": "x"}'});
is(sql(q{SELECT outcome($o$ SELECT score FROM scoreboard_increment_for('pgood', 'AWARD', 'a', points => 7) $o$)}), 'PT409 {"code":"DUPLICATE_ACTION"} the action has been counted already', 'what was counted is not looked at again');

# What it does is gone.
is_refused(q{BEGIN INSERT INTO game.run VALUES ('x'); RETURN true; END}, qr/^error 25006: /, 'a write', undef, 'SELECT count(*) FROM game.run');
is_refused(q{BEGIN SET transaction_read_only = off; INSERT INTO game.run VALUES ('x'); RETURN true; END}, qr/^error 25001: /, 'a write with the switch', undef, 'SELECT count(*) FROM game.run');
is_refused(q{BEGIN PERFORM set_config('transaction_read_only', 'off', true); RETURN true; END}, qr/^error 25001: /, 'the switch alone');
is_refused(q{BEGIN BEGIN INSERT INTO game.run VALUES ('x'); EXCEPTION WHEN OTHERS THEN NULL; END; SET LOCAL transaction_read_only = off; RETURN true; END}, qr/^error 25001: /, 'the switch behind an error');
is_refused(q{BEGIN PERFORM nextval('game.number'); RETURN true; END}, qr/^error 25006: /, 'a sequence');
is_refused(q{BEGIN PERFORM id FROM game.run FOR UPDATE; RETURN true; END}, qr/^error 25006: /, 'locks on rows');
is_refused(q{BEGIN CREATE TEMP TABLE t (x int); RETURN true; END}, qr/^error (42501|25006): /, 'a temporary table', undef, q{SELECT count(*) FROM pg_class WHERE relname = 't'});
is_refused(q{BEGIN SET ROLE postgres; RETURN true; END}, qr/^error 42501: /, 'SET ROLE', undef, q{SELECT count(*) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper});
is_refused(q{BEGIN PERFORM set_config('role', 'postgres', false); RETURN true; END}, qr/^error 42501: /, 'SET ROLE as a function');
is_refused(q{BEGIN RESET SESSION AUTHORIZATION; RETURN true; END}, qr/^error 42501: /, 'RESET SESSION AUTHORIZATION');
is_refused(q{BEGIN EXECUTE 'PREPARE p AS SELECT 1'; RETURN true; END}, qr/^error 42501: .*security-restricted/, 'a prepared statement', undef, 'SELECT count(*) FROM pg_prepared_statements');
is_refused(q{BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; RETURN true; END}, qr/^error 42501: .*security-restricted/, 'a held cursor', undef, q{SELECT count(*) FROM pg_cursors WHERE name = 'c'});
is_refused(q{BEGIN LISTEN verified; RETURN true; END}, qr/^error 42501: .*security-restricted/, 'LISTEN', undef, 'SELECT count(*) FROM pg_listening_channels()');

# What the session has beside: neither seen nor touched
my $around = 'BEGIN; SELECT pg_advisory_lock(7), pg_advisory_lock(7); PREPARE mine AS SELECT $$canary-prepared$$; DECLARE mine CURSOR FOR SELECT format($$canary-%s$$, g) FROM generate_series(1, 3) g; SAVEPOINT before; ';
sub beside
{
	my ($body, $declare, $call) = @_;
	my $player = ++$number;

	verifier("DECLARE c refcursor := 'mine'; r record; s text; n int; BEGIN $body; END");
	$call //= award($player);
	return sql($around . sprintf($call, $player) . '; FETCH mine; SELECT pg_advisory_unlock(7), pg_advisory_unlock(7); DEALLOCATE mine; COMMIT');
}
my $kept = "\n7\ncanary-1\nt|t";
my $calls = q{DO $do$ BEGIN PERFORM scoreboard_increment_for('p%s', 'AWARD', 'a', points => 7, metadata => '{"x": "canary-call"}'); EXCEPTION WHEN SQLSTATE 'PT403' THEN NULL; END $do$};
is(beside('RETURN true'), "|$kept", 'what the session has is still there');
is(beside("GET DIAGNOSTICS s = PG_CONTEXT; RAISE EXCEPTION '%', s", undef, $calls), "|\ncanary-1\nt|t", 'it looks at its context');
unlike(reason("p$number"), qr/canary|scoreboard_increment|DO|inline/, 'which ends with itself');
is(beside("SELECT count(*) INTO n FROM pg_cursors; RETURN n = 0"), "|$kept", 'no cursor is listed');
is(beside("BEGIN FETCH c INTO r; RETURN false; EXCEPTION WHEN object_not_in_prerequisite_state THEN RETURN true; END"), "|$kept", 'a cursor of the caller is not read');
is(beside("BEGIN MOVE c; RETURN false; EXCEPTION WHEN object_not_in_prerequisite_state THEN RETURN true; END"), "|$kept", 'nor moved');
is(beside("BEGIN CLOSE c; RETURN false; EXCEPTION WHEN invalid_cursor_state THEN RETURN true; END"), "|$kept", 'nor closed');
is(beside("OPEN c FOR SELECT 1; RETURN false; EXCEPTION WHEN duplicate_cursor THEN RETURN true"), "|$kept", 'nor replaced');
is(beside("c := 'own'; OPEN c FOR SELECT 5; FETCH c INTO n; CLOSE c; RETURN n = 5"), "|$kept", 'it has cursors of its own');
is(beside("BEGIN PERFORM $_; RETURN false; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END"), "|$kept", "$_ is refused")
	foreach ('pg_advisory_unlock(7)', 'pg_advisory_unlock_shared(7)', 'pg_advisory_unlock(0, 7)', 'pg_advisory_unlock_shared(0, 7)', 'pg_advisory_unlock_all()', '* FROM pg_prepared_statements', 'setseed(0)');
is(sql(q{BEGIN; DECLARE calls CURSOR FOR } . award('fetched') . '; FETCH calls; SELECT count(*) FROM pg_cursors; COMMIT'), "7\n1", 'called by a cursor');
is(sql(q{DO $$ DECLARE r record; BEGIN FOR r IN SELECT g FROM generate_series(1, 20) g LOOP PERFORM scoreboard_increment_for('plooped' || r.g, 'AWARD', 'a', points => 7); END LOOP; END $$; SELECT count(*) FROM scoreboard.player WHERE user_id LIKE 'plooped%'}), 20, 'called in a loop');

# What it may do, and no more than that
verifier(q{DECLARE c refcursor := 'open'; BEGIN OPEN c FOR SELECT 1; PERFORM set_config('search_path', 'game', false), set_config('game.note', 'x', false), pg_notify('verified', 'x');
	LOCK TABLE game.run IN ACCESS EXCLUSIVE MODE; PERFORM pg_advisory_lock(42), pg_advisory_lock(42), pg_advisory_lock_shared(43), pg_advisory_xact_lock(44); RETURN true; END});
my $left = q{SELECT concat_ws(' ', (SELECT count(*) FROM pg_cursors WHERE name = 'open'), nullif(current_setting('game.note', true), ''), current_setting('search_path'),
	(SELECT string_agg(concat_ws(' ', locktype, objid, mode), ', ' ORDER BY objid, mode) FROM pg_locks WHERE pid = pg_backend_pid() AND (locktype = 'advisory' AND objsubid < 3 OR relation = 'game.run'::regclass)))};
is(sql('BEGIN; SELECT pg_advisory_lock_shared(7); ' . award('clean') . "; $left; COMMIT; $left"), qq{\n7\n0 "\$user", public advisory 7 ShareLock\n0 "\$user", public advisory 7 ShareLock}, 'after true: no cursor, setting, lock is left, but the caller\'s own');
verifier(q{BEGIN LOCK TABLE game.run IN ACCESS EXCLUSIVE MODE; PERFORM pg_advisory_lock(42), pg_advisory_lock(45); RETURN 1 / 0; END});
is(sql("BEGIN; SELECT outcome(\$o\$ " . award('unclean') . " \$o\$) LIKE 'PT403%'; $left; COMMIT; $left"), qq{t\n0 "\$user", public\n0 "\$user", public}, 'after an error, too');
verifier(q{BEGIN RETURN NOT EXISTS (SELECT FROM run); END});
is(sql(q{CREATE TEMP TABLE run (id text); INSERT INTO run VALUES ('x'); } . award('temporary')), 7, 'a temporary table of the session stands in for nothing');
is(sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM game.run; } . award('repeatable') . '; COMMIT'), "0\n7", 'under REPEATABLE READ');

# Its time
sql(q{ALTER DATABASE game SET scoreboard.verifier_timeout = '50ms'});
my $late = qr/^took longer than scoreboard\.verifier_timeout, 50 ms$/;
is_refused('BEGIN PERFORM pg_sleep(1000); RETURN true; END', $late, 'one that sleeps');
is_refused('BEGIN LOOP END LOOP; END', $late, 'one that is busy');
is_refused('BEGIN BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN RETURN true; END; END', $late, 'one that catches its cancel');
is_refused('BEGIN BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(1000); END; RETURN true; END', $late, 'one that catches it and goes on');
{
	my $holder = $node->background_psql($db);
	$holder->query_safe('BEGIN; LOCK TABLE game.run');
	is_refused('BEGIN PERFORM * FROM game.run; RETURN true; END', $late, 'one that waits for a lock');
	# Its own lock_timeout is no cancel of the statement.
	verifier(q{BEGIN PERFORM * FROM game.run; RETURN false; EXCEPTION WHEN lock_not_available THEN RETURN true; END}, q{SET lock_timeout = '1ms'});
	is(sql(award('lock_timeout')), 7, 'one that deals with its own lock_timeout');
	$holder->quit;
}
# One that nothing but the end of its session ends
verifier('BEGIN LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END');
my $written = sql('SELECT written()');
like(stderr_of(award('stubborn')), qr/terminating connection|server closed the connection/, 'one that catches every cancel: its session ends');
is(sql('SELECT written()'), $written, 'and nothing was written');

# A cancel that is meant for the whole statement
sql(q{ALTER DATABASE game SET scoreboard.verifier_timeout = '60s'});
foreach my $answer ('RETURN true', 'RETURN false', 'RAISE', 'RETURN 1 / 0')
{
	verifier("BEGIN PERFORM pg_sleep(1000); RETURN true; EXCEPTION WHEN query_canceled THEN $answer; END");
	like(stderr_of(q{SET statement_timeout = '50ms'; } . award('timed')), qr/ERROR:  canceling statement/, "statement_timeout is not swallowed: $answer");
	my $session = $node->background_psql($db, on_error_stop => 0);
	$session->query_until(qr/^sent$/m, "\\echo sent\n" . award('cancelled') . ";\n\\echo ended\n");
	wait_until($node, $db, q{pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}, 'it is cancelled');
	$session->query_until(qr/^ended$/m, '');
	like($session->{stderr}, qr/ERROR:  canceling statement/, "nor is a cancel: $answer");
	$session->quit;
}
is(sql('SELECT written()'), $written, 'and nothing was written');
is(sql(q{SELECT count(*) FROM scoreboard.flag WHERE user_id IN ('ptimed', 'pcancelled')}), 0, 'nobody is flagged for that');
sql(q{ALTER DATABASE game RESET scoreboard.verifier_timeout});
verifier(q{BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END});
like(sql(q{SELECT outcome($o$ } . award('conflict') . q{ $o$)}), qr/^PT503 \{"code":"UNAVAILABLE","retryAfter":1\}/, 'a conflict with others is nobody\'s fault');

# The function changes
verifier('BEGIN RETURN true; END');
my %changes = (
	'another owner' => [ 'ALTER FUNCTION game.check OWNER TO mallory', 'ALTER FUNCTION game.check OWNER TO auditor', qr/its verifier has another owner now/ ],
	'SECURITY DEFINER' => [ 'ALTER FUNCTION game.check SECURITY DEFINER', 'ALTER FUNCTION game.check SECURITY INVOKER', qr/its verifier is SECURITY DEFINER/ ],
	'no search_path' => [ 'ALTER FUNCTION game.check RESET ALL', 'ALTER FUNCTION game.check SET search_path = game, pg_temp', qr/its verifier has no search_path/ ],
	'not executable' => [ 'REVOKE ALL ON FUNCTION game.check FROM PUBLIC, auditor', 'GRANT EXECUTE ON FUNCTION game.check TO auditor', qr/its verifier may not be executed/ ],
	'renamed' => [ 'ALTER FUNCTION game.check RENAME TO other', 'ALTER FUNCTION game.other RENAME TO "check"', qr/its verifier is gone/ ]);
foreach my $change (sort keys %changes)
{
	my ($there, $back, $complaint) = @{ $changes{$change} };

	sql($there);
	like(sql(q{SELECT outcome($o$ } . award('changed') . q{ $o$)}), qr/^PT403 \{"code":"ACTION_NOT_ALLOWED"\} action type "AWARD" can't be verified: $complaint/, "$change: refused");
	sql($back);
}
is(sql(q{SELECT count(*) FROM scoreboard.flag WHERE user_id = 'pchanged'}), 0, 'and nobody is flagged for it');
sql('DROP FUNCTION game.check; SET ROLE mallory; CREATE FUNCTION game.check(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT true $$');
like(sql(q{SELECT outcome($o$ } . award('changed') . q{ $o$)}), qr/has another owner now/, 'what somebody else made in its place is not run');
sql('DROP FUNCTION game.check');
is(set_verifier('mallory', q{'AWARD', NULL}), '', 'an administrator takes it away');
is(sql(award('changed')), 7, 'and actions are counted');

# A fraction, and flagged players
verifier('BEGIN RETURN false; END');
set_verifier('auditor', q{'AWARD', 'game.check(jsonb)', 0});
is(sql(award('free')), 7, 'fraction 0: not looked at');
sql(q{UPDATE scoreboard.player SET flagged = true WHERE user_id = 'pfree'});
like(sql(q{SELECT outcome($o$ SELECT score FROM scoreboard_increment_for('pfree', 'AWARD', 'b', points => 7) $o$)}), qr/^PT403/, 'a flagged player is');
sql(q{UPDATE scoreboard.player SET flagged = false WHERE user_id = 'pfree'});
reason('pfree');
like(sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT outcome($o$ SELECT score FROM scoreboard_increment_for('pfree', 'AWARD', 'c', points => 7) $o$); ROLLBACK}), qr/^PT403/, 'so is one with a standing flag');
# A refusal that comes in behind would raise it again.
wait_until($node, $db, q{(SELECT times FROM scoreboard.flag WHERE user_id = 'pfree') = 2}, 'both refusals have come in');
my ($flag) = split(/\|/, sql(q{SELECT flag_id, kind, board, times > 0, cleared_by IS NULL FROM scoreboard_flags('global') WHERE user_id = 'pfree'}));
sql(qq{SELECT scoreboard_clear_flag($flag, 'looked at it'); SELECT scoreboard_clear_flag($flag, 'again')});
is(sql(qq{SELECT kind, cleared_by = session_user, cleared_for FROM scoreboard_flags(cleared => true) WHERE flag_id = $flag}), 'verifier|t|looked at it', 'a flag is cleared once, and by whom');
is(sql(q{SELECT count(*) FROM scoreboard_flags() WHERE user_id = 'pfree'}), 0, 'and is not listed any more');
like(sql(q{SELECT outcome('SELECT scoreboard_clear_flag(0)')}), qr/^PT404 \{"code":"NOT_FOUND"\}/, 'there is no such flag');
is(sql(q{SELECT outcome($o$ SELECT score FROM scoreboard_increment_for('pfree', 'AWARD', 'c', points => 7) $o$)}), 14, 'a player whose flags are cleared is not looked at');
set_verifier('auditor', q{'AWARD', 'game.check(jsonb)', 0.5});
my $drawn = q{SELECT string_agg((outcome(format($f$ SELECT score FROM scoreboard_increment_for('d%s', 'AWARD', 'x', points => 1, idempotency_key => 'k') $f$, n)) LIKE 'PT403%')::int::text, '' ORDER BY n) FROM generate_series(1, 200) AS n};
my $first = sql($drawn);
cmp_ok($first =~ tr/1//, '>', 50, 'some are looked at');
cmp_ok($first =~ tr/0//, '>', 50, 'others are not');
is(sql($drawn), $first, 'and trying again changes nothing');

# In a batch: a neighbour is not harmed; from a bridge, it is to come again alone.
sql(<<'EOT');
CREATE FUNCTION base64url(data bytea) RETURNS text LANGUAGE sql AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
CREATE TABLE key AS SELECT scoreboard_create_key('game') AS secret;
SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}');
CREATE FUNCTION request(player text, type text, id text) RETURNS json LANGUAGE sql AS $$
	SELECT json_build_object('actionType', type, 'actionId', id, 'issuedAt', s, 'token', p || '.' || base64url(hmac(p::bytea, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'sha256')),
		'receipt', 'v1:game:' || encode(hmac(concat_ws(E'\n', 'scoreboard-receipt-v1', 'game', 'global', player, type, id, '', '', '', s), secret, 'sha256'), 'hex'))
	FROM (SELECT floor(extract(epoch FROM now()))::bigint) AS t (s), key, LATERAL (SELECT base64url('{"alg":"HS256"}') || '.' || base64url(format('{"iss":"https://a.test","sub":"%s","exp":%s}', player, s + 600)::bytea)) AS u (p)
$$;
EOT
my $batch = q{SELECT string_agg(concat_ws(' ', status, body -> 'error' ->> 'code', retry_after), ', ' ORDER BY ordinal) FROM };
sub set_level { sql("SET ROLE auditor; CREATE OR REPLACE FUNCTION game.check(action jsonb) RETURNS boolean LANGUAGE plpgsql SET search_path = game, pg_temp AS \$f\$ $_[0] \$f\$; SELECT scoreboard_set_verifier('LEVEL', 'game.check(jsonb)')"); return; }

set_level(q{BEGIN IF action ->> 'userId' = 'slow' THEN PERFORM pg_sleep(1000); END IF; RETURN action ->> 'userId' <> 'liar' AND NOT action ? 'token' AND NOT action ? 'receipt'; END});
is(sql($batch . q{scoreboard_submit(json_build_array(request('one', 'COIN', 'a'), request('liar', 'LEVEL', 'a'), request('honest', 'LEVEL', 'a'), request('slow', 'LEVEL', 'a'), request('late', 'LEVEL', 'a'), request('two', 'COIN', 'a')))}),
	'200, 403 ACTION_NOT_ALLOWED, 200, 403 ACTION_NOT_ALLOWED, 503 UNAVAILABLE 1, 200', 'a batch: each has its own outcome');
like(reason('slow'), qr/^took longer/, 'the slow one is flagged');
is(reason('liar'), 'answered false', 'so is the liar');
is(sql(q{SELECT count(*) FROM scoreboard.flag WHERE user_id IN ('one', 'honest', 'late', 'two')}), 0, 'and nobody else');
my $refusals = sql('SELECT count(*) FROM scoreboard.refusal');
is(sql($batch . q{scoreboard.submit(json_build_array(request('one', 'COIN', 'b'), request('late', 'LEVEL', 'a'), request('two', 'COIN', 'b')))}), '200, 503 UNAVAILABLE 0, 200', 'from a bridge: to be sent alone');
is(sql($batch . q{scoreboard.submit(json_build_array(request('late', 'LEVEL', 'a')))}), '200', 'alone it is looked at');
is(sql($batch . q{scoreboard.submit(json_build_array(request('one', 'COIN', 'c'), request('late', 'LEVEL', 'a')))}), '200, 409 DUPLICATE_ACTION', 'and not again');
is(sql($batch . q{scoreboard.submit(json_build_array(request('liar', 'LEVEL', 'b')))}), '403 ACTION_NOT_ALLOWED', 'alone it is refused');
wait_until($node, $db, "(SELECT count(*) FROM scoreboard.refusal WHERE user_id = 'liar') >= 2", 'refusals are stored');
is(sql(q{SELECT count(*) FROM scoreboard.refusal WHERE user_id = 'late' AND action_id = 'a' AND message ~ 'alone'}), 0, 'what was to be sent alone is no refusal');
is(sql(q{SELECT times FROM scoreboard.flag WHERE user_id = 'liar'}), 2, 'a flag that stands is not raised again, but counted');

$node->stop;
done_testing();
