# No secret, token or receipt comes into the server's log, an error, pg_stat_activity or pg_stat_statements, not even where a
# statement carries it as a literal: whoever raises what ends it, and whichever session reports it.
# Needs the server's log.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

# What PostgreSQL logs by default, and some more than that.
my $node = init_node('secrets', conf => <<'EOT');
shared_preload_libraries = 'scoreboard,pg_stat_statements'
pg_stat_statements.track = all
# It keeps utility statements, DO and EXECUTE among them, as they stand.
pg_stat_statements.track_utility = off
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.log_refusals = 1000
log_statement = none
log_min_error_statement = error
log_min_messages = info
log_error_verbosity = verbose
EOT
$node->start;
create_database($node, 'game');
$node->safe_psql('game', q{
	CREATE EXTENSION pg_stat_statements;
	INSERT INTO scoreboard.action_type (name, points) VALUES ('LEVEL', 5);
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('STEP', 'session', 1);
	CREATE FUNCTION base64url(data bytea) RETURNS text LANGUAGE sql AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
	CREATE TABLE signed (what text, secret text)});
my $offset = -s $node->logfile;

# Everything that must not be seen, made by the database itself and fetched from a table, so that no statement of the test holds it.
my $jwt_secret = 'Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmFyeSE';
$node->safe_psql('game', qq{
	INSERT INTO signed SELECT 'key', scoreboard_create_key('game');
	INSERT INTO signed SELECT 'rotated', scoreboard_rotate_key('game', 'game-2');
	INSERT INTO signed SELECT unnest(ARRAY['session', 'session key']), unnest(ARRAY[k.secret, k.key_id]) FROM scoreboard_create_session_key('a:ada') AS k;
	SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "kid": "k1", "k": "$jwt_secret"}]}', 'a:');
	INSERT INTO signed SELECT 'token', p || '.' || base64url(hmac(p::bytea, decode('$jwt_secret=', 'base64'), 'sha256'))
		FROM (SELECT base64url('{"alg":"HS256","kid":"k1"}') || '.' || base64url(format('{"iss":"https://a.test","sub":"ada","exp":%s}', floor(extract(epoch FROM now()))::bigint + 3000)::bytea)) AS t (p)});
my %secret = map { split(/\|/) } split(/\n/, $node->safe_psql('game', 'SELECT what, secret FROM signed'));
my $now = $node->safe_psql('game', 'SELECT floor(extract(epoch FROM now()))::bigint');

my $session_key = delete $secret{'session key'};

sub receipt
{
	my ($action, $key, $what, $type) = (@_, 'game', 'key', 'LEVEL');

	return "v1:$key:" . $node->safe_psql('game', qq{
		SELECT encode(hmac(concat_ws(E'\\n', 'scoreboard-receipt-v1', 'game', 'global', 'a:ada', '$type', '$action', '', '', '', $now), secret, 'sha256'), 'hex') FROM signed WHERE what = '$what'});
}

my $receipt = receipt('a');
my $forged = 'v1:game:' . 'f0' x 32;
my $token = $secret{token};
$secret{receipt} = $receipt;
$secret{'forged receipt'} = $forged;

sub call
{
	my ($statement) = @_;
	my ($status, $output, $errors) = $node->psql('game', $statement);

	return $status == 0 ? $output : $errors;
}

like(call("SELECT score FROM scoreboard_increment('LEVEL', 'a', issued_at => $now, receipt => '$receipt', token => '$token')"), qr/^5$/, 'counted, with literals');

$secret{'session receipt'} = receipt('s', $session_key, 'session', 'STEP');
like(call("SELECT score FROM scoreboard_increment('STEP', 's', issued_at => $now, receipt => '$secret{'session receipt'}', token => '$token')"), qr/^6$/, 'counted by a session key, with literals');

$secret{ticket} = call("SELECT ticket FROM scoreboard_create_ticket('$token')");
is(call("SELECT user_id FROM scoreboard.redeem_ticket('$secret{ticket}')"), 'a:ada', 'a ticket, as a literal');
$secret{pass} = call("SELECT pass FROM scoreboard.authenticate('$token')");
is(call("SELECT count(*) FROM scoreboard.standings('global', '{a:ada}', '{$secret{pass}}')"), 1, 'a pass, as a literal');
$secret{'what passes are signed with'} = $node->safe_psql('game', 'SELECT secret FROM scoreboard.pass_key');

# Refused, all with the token as a literal
my %refused = (
	'duplicate' => "SELECT scoreboard_increment('LEVEL', 'a', issued_at => $now, receipt => '$receipt', token => '$token')",
	'forged receipt' => "SELECT scoreboard_increment('LEVEL', 'b', issued_at => $now, receipt => '$forged', token => '$token')",
	'forged token' => "SELECT scoreboard_increment('LEVEL', 'b', issued_at => $now, receipt => '$receipt', token => '${token}x')",
	'ill-formed' => "SELECT scoreboard_increment('', 'b', receipt => '$receipt', token => '$token')",
	'no board' => "SELECT scoreboard_increment('LEVEL', 'b', 'none', issued_at => $now, receipt => '$receipt', token => '$token')",
	'read' => "SELECT scoreboard_me('none', token => '$token')",
	'list' => "SELECT * FROM scoreboard_top(entries => 0, token => '$token')",
	'view' => "SELECT scoreboard_view('none', token => '$token')",
	'history' => "SELECT scoreboard_history(cursor => 'none', token => '$token')",
	'boards' => "SELECT scoreboard_boards('${token}x')",
	'choice' => "SELECT scoreboard_set_listed(NULL, token => '$token')",
	'read for a bridge' => "SELECT scoreboard.me('none', NULL, '$token')",
	'authentication' => "SELECT scoreboard_authenticate('${token}x')",
	'a ticket for a forged token' => "SELECT scoreboard_create_ticket('${token}x')",
	'a ticket that was used' => "SELECT scoreboard.redeem_ticket('$secret{ticket}')",
	'standings with a pass too many' => "SELECT scoreboard.standings('global', '{a:ada}', '{$secret{pass},x}')",
	'standings of too many' => "SELECT scoreboard.standings('global', array_fill('$secret{pass}'::text, ARRAY[1001]))",
	'batch' => qq{SELECT * FROM scoreboard_submit('{"token": "$token", "receipt": "$receipt"}')},
	'within PL/pgSQL' => qq{DO \$\$ BEGIN PERFORM scoreboard_increment('LEVEL', 'a', issued_at => $now, receipt => '$receipt', token => '$token'); END \$\$},
	'another receipt of a session key' => "SELECT scoreboard_increment('STEP', 't', issued_at => $now, receipt => '$secret{'session receipt'}', token => '$token')",
	'an explanation' => "SELECT scoreboard_explain_receipt('$secret{'session receipt'}', '$token', 'a:ada', 'LEVEL', 'none', 'none', issued_at => 1)",
	'a session key that lives too long' => "SELECT scoreboard_create_session_key('a:ada', '1 year')",
	'issuer' => qq{SELECT scoreboard_set_issuer('https://c.test', '{"keys": [{"kty": "oct", "alg": "none", "k": "$jwt_secret"}]}', 'c:')},
);
foreach my $name (sort keys %refused)
{
	my $errors = call($refused{$name});

	like($errors, qr/ERROR/, "$name: refused");
	unlike($errors, qr/\Q$token\E|\Q$receipt\E|\Q$forged\E|$jwt_secret|$secret{ticket}|$secret{pass}/, "$name: the error holds no secret") unless $name eq 'within PL/pgSQL';
}
# A snapshot that is too old for what has been committed since
my $late_receipt = receipt('c');
my ($status, $output, $errors) = $node->psql('game', qq{
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) FROM scoreboard.player;
	\\! psql -XAtq -d '@{[ $node->connstr('game') ]}' -c "SELECT scoreboard_set_profile('a:ada', 'Ada')"
	SELECT scoreboard_increment('LEVEL', 'c', issued_at => $now, receipt => '$late_receipt', token => '$token');
});
like($errors, qr/could not serialize access/, 'a snapshot too old: refused');
# Keys and issuers that can't be stored
call("SELECT scoreboard_create_key('not a name')");
call("SELECT scoreboard_create_key('game')");
call("SELECT scoreboard_create_key('late', valid_until => '2000-01-01')");
call("SELECT scoreboard_rotate_key('game', 'not a name')");
# A constraint that an administrator's own statement violates, or a function's under a constraint of theirs: no row, neither in the log nor to the client
$secret{'JWT secret'} = substr($jwt_secret, 0, 16);		# a row is shown with long values cut
$node->safe_psql('game', q{
	ALTER TABLE scoreboard.signing_key ADD CONSTRAINT ours CHECK (key_id <> 'game-3');
	CREATE UNIQUE INDEX ours_too ON scoreboard.signing_key (secret)});
foreach my $case (
	['a signing key that ends before it began', q{UPDATE scoreboard.signing_key SET valid_until = '2000-01-01' WHERE key_id = 'game'}],
	['a signing key without a beginning', q{UPDATE scoreboard.signing_key SET valid_from = NULL WHERE key_id = 'game'}],
	['a signing key a second time', qq{INSERT INTO scoreboard.signing_key (key_id, secret) VALUES ('copy', '$secret{key}')}],
	['a signing key that a constraint of theirs forbids', qq{UPDATE scoreboard.signing_key SET key_id = 'game-3' WHERE secret = '$secret{key}'}],
	['a session key without an end', q{UPDATE scoreboard.session_key SET expires_at = NULL}],
	['a session key a second time', qq{INSERT INTO scoreboard.session_key SELECT k.* FROM scoreboard.session_key k WHERE k.secret = '$secret{session}'}],
	['a key for passes without its place', q{UPDATE scoreboard.pass_key SET one = NULL}],
	['a second key for passes', q{INSERT INTO scoreboard.pass_key SELECT k.* FROM scoreboard.pass_key k}],
	['a JWT key of no algorithm', q{UPDATE scoreboard.jwt_key SET algorithm = 'none'}],
	['a JWT key without an issuer', q{UPDATE scoreboard.jwt_key SET issuer = NULL}])
{
	my ($name, $statement) = @$case;
	my $from = -s $node->logfile;
	my $answer = call($statement);

	unseen($name, $from, qr/violates|must/);
	like($answer, qr/violates|must/, "$name: refused");
	is(join(' ', grep { index($answer, $secret{$_}) >= 0 && index($statement, $secret{$_}) < 0 } sort keys %secret), '', "$name: the client sees no secret");
}
$node->safe_psql('game', 'ALTER TABLE scoreboard.signing_key DROP CONSTRAINT ours; DROP INDEX scoreboard.ours_too');

# What the server raises itself while we run, or after that within the statement. Each must be in the log, without what the statement holds.
$node->safe_psql('game', q{
	CREATE FUNCTION boom(why anyelement) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$;
	CREATE FUNCTION boom_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom at commit'; END $$;
	CREATE TABLE counted (score bigint);
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON counted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION boom_later();
	CREATE TABLE gate ()});
my $action = 0;

sub increment
{
	my $id = 'server-' . ++$action;
	my $signed = receipt($id);

	$secret{"receipt of $id"} = $signed;
	return "scoreboard_increment('LEVEL', '$id', issued_at => $now, receipt => '$signed', token => '$token')";
}

# What was logged since then; nothing of it may hold a secret.
sub unseen
{
	my ($name, $from, $message) = @_;
	my $logged = substr(slurp_file($node->logfile), $from);

	like($logged, $message, "$name: is logged");
	my @seen = grep { index($logged, $secret{$_}) >= 0 } sort keys %secret;
	is("@seen", '', "$name: without a secret");
	return;
}

# A session that has the player's lock.
my $holder = $node->background_psql('game', on_error_stop => 0);
$holder->query_safe('BEGIN');
$holder->query_safe("SELECT scoreboard.lock_player('a:ada')");
my $waits = "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)";

# Starts statements in a session of their own; returns when they wait for the player's lock.
sub waiting
{
	my (@statements) = @_;
	my $session = $node->background_psql('game', on_error_stop => 0);

	$session->query_safe($_) foreach @statements[ 0 .. $#statements - 1 ];
	$session->query_until(qr/^sent$/m, "\\echo sent\n$statements[-1];\n\\echo ended\n");
	wait_until($node, 'game', $waits, 'the session waits for the player');
	return $session;
}

my $waiter = '(SELECT pid FROM pg_locks WHERE locktype = \'advisory\' AND NOT granted)';
my $from = -s $node->logfile;
call("SET lock_timeout = '10ms'; SELECT " . increment());
unseen('lock_timeout', $from, qr/canceling statement due to lock timeout/);

$from = -s $node->logfile;
call("SET statement_timeout = '1s'; SELECT " . increment());
unseen('statement_timeout', $from, qr/canceling statement due to statement timeout/);

$from = -s $node->logfile;
call("SET log_lock_waits = on; SET deadlock_timeout = '10ms'; SET lock_timeout = '500ms'; SELECT " . increment());
unseen('log_lock_waits', $from, qr/still waiting for ExclusiveLock/);

$from = -s $node->logfile;
my $session = waiting('SELECT ' . increment());
my $activity = $node->safe_psql('game', "SELECT query FROM pg_stat_activity WHERE pid = $waiter");
unlike($activity, qr/\Q$token\E/, 'pg_stat_activity: no token while the statement runs');
$node->safe_psql('game', "SELECT pg_cancel_backend($waiter)");
$session->query_until(qr/^ended$/m, '');
unseen('cancel', $from, qr/canceling statement due to user request/);
my $after = -s $node->logfile;
$session->query('SELECT boom(0)');
like(substr(slurp_file($node->logfile), $after), qr/STATEMENT:  SELECT boom\(0\)/, 'the next statement of that session is not hidden');
$session->quit;

$from = -s $node->logfile;
$session = waiting('SELECT ' . increment());
$node->safe_psql('game', "SELECT pg_terminate_backend($waiter, 60000)");
unseen('FATAL', $from, qr/FATAL: .*terminating connection due to administrator command/);
eval { $session->quit };

# A deadlock that another session reports, with the statements of both
$from = -s $node->logfile;
$session = waiting('BEGIN', 'LOCK TABLE gate', 'SELECT ' . increment());
$holder->query("SET deadlock_timeout = '10ms'; LOCK TABLE gate");
$holder->query('ROLLBACK');
$session->query_until(qr/^ended$/m, '');
unseen('a deadlock elsewhere', $from, qr/deadlock detected.*Process \d+: /s);
$session->query('ROLLBACK');

# And one that we report: the other one waits already, and doesn't look
$from = -s $node->logfile;
$holder->query("SET deadlock_timeout = '1h'; BEGIN; SELECT scoreboard.lock_player('a:ada')");
$session->query("SET deadlock_timeout = '10ms'; BEGIN; LOCK TABLE gate");
$holder->query_until(qr/^sent$/m, "\\echo sent\nLOCK TABLE gate;\n\\echo ended\n");
wait_until($node, 'game', "EXISTS (SELECT FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted)", 'the holder waits for the gate');
$session->query('SELECT ' . increment());
$session->query('ROLLBACK');
$holder->query_until(qr/^ended$/m, '');
$holder->query('ROLLBACK');
unseen('a deadlock', $from, qr/deadlock detected.*Process \d+: /s);
$session->quit;
$holder->quit;

# The last lock that there was room for is taken.
$from = -s $node->logfile;
call(q{BEGIN;
	DO $$ BEGIN
		FOR i IN 1..10000000 LOOP
			BEGIN
				PERFORM pg_advisory_xact_lock(i);
			EXCEPTION WHEN out_of_memory THEN
				EXIT;
			END;
		END LOOP;
	END $$;
	SELECT } . increment());
unseen('out of shared memory', $from, qr/ERROR: .*out of shared memory/);

my %fails = (
	'a commit' => [ 'INSERT INTO counted SELECT score FROM ' . increment(), qr/boom at commit/ ],
	'later in the statement' => [ 'SELECT boom(score) FROM ' . increment(), qr/boom/ ],
	'later in the message' => [ 'SELECT ' . increment() . '\\; SELECT boom(0)', qr/boom/ ],
	'later in a block' => [ 'DO $$ BEGIN PERFORM ' . increment() . q{; RAISE EXCEPTION 'boom'; END $$}, qr/boom/ ],
	'a query within a block' => [ 'DO $$ BEGIN PERFORM ' . increment() . q{; EXECUTE 'SELECT FROM ' || $q$} . increment() . q{ WHERE$q$; END $$}, qr/syntax error/ ],
	'a prepared statement' => [ 'PREPARE p(text) AS SELECT boom(score) FROM scoreboard_increment(\'LEVEL\', \'x\', token => $1); EXECUTE p(\'' . $token . q{')}, qr/ERROR/ ],
	'a warning' => [ 'DO $$ BEGIN PERFORM ' . increment() . q{; RAISE WARNING 'boom'; END $$}, qr/WARNING: .*boom/ ],
);
foreach my $name (sort keys %fails)
{
	my ($statement, $message) = @{ $fails{$name} };

	$from = -s $node->logfile;
	call("SET log_min_error_statement = warning; $statement");
	unseen($name, $from, $message);
}
$node->safe_psql('game', 'ALTER TABLE scoreboard.score ADD CONSTRAINT low CHECK (score < 0) NOT VALID');
$from = -s $node->logfile;
call('SELECT ' . increment());
unseen('a constraint', $from, qr/violates check constraint "low"/);

# As a parameter, where the administrator wants parameters in the log of errors
my $script = $node->basedir . '/parameter.sql';
append_to_file($script, "SELECT scoreboard_increment('LEVEL', 'y', issued_at => $now, receipt => :receipt, token => :token);\n");
$from = -s $node->logfile;
{
	local $ENV{PGOPTIONS} = '-c log_parameter_max_length_on_error=-1';
	$node->command_fails([ 'pgbench', '-n', '-t', 1, '-M', 'extended', '-D', "token=$token", '-D', "receipt=$forged", '-f', $script, $node->connstr('game') ], 'a parameter: refused');
}
unseen('a parameter', $from, qr/signature is wrong/);

# Every function of the API hides its statement, whatever it is given.
my @functions = split(/\n/, $node->safe_psql('game', q{
	SELECT format('%s(%s)', p.oid::regproc, array_to_string(array_fill('NULL'::text, ARRAY[p.pronargs - p.pronargdefaults]), ', '))
	FROM pg_proc p WHERE p.oid IN (SELECT m.function FROM scoreboard.api_members() m) ORDER BY 1}));
cmp_ok(scalar @functions, '>', 20, 'the API has functions');
$from = -s $node->logfile;
foreach my $function (@functions)
{
	like(call("SELECT boom(count(*)) FROM $function /* canary */"), qr/ERROR/, "$function: ends with an error");
}
is(join(' ', map { /canary|\b(scoreboard_\w+)\(/ ? $1 // $_ : () } grep { /STATEMENT|CONTEXT/ } split(/\n/, substr(slurp_file($node->logfile), $from))), '', 'every function hides its statement');

my $log = substr(slurp_file($node->logfile), $offset);
like($log, qr/ counted already/, 'refusals are logged');
like($log, qr/"event":"scoreboard\.refusal","code":"INVALID_SIGNATURE"/, 'as lines of their own, too');
my %must_not_be_seen = (%secret, 'late receipt' => $late_receipt, 'signature of the token' => (split(/\./, $token))[2],
	'secret of the issuer' => $jwt_secret);
foreach my $name (sort keys %must_not_be_seen)
{
	ok(index($log, $must_not_be_seen{$name}) < 0, "not in the log: $name");
}
ok($log !~ /\b[0-9a-f]{64}\b/, 'nothing in the log looks like a secret of a signing key');

my $seen = $node->safe_psql('game', 'SELECT string_agg(query, E\'\n\') FROM pg_stat_statements');
like($seen, qr/scoreboard_increment\(/, 'statements are tracked');
foreach my $name (sort keys %must_not_be_seen)
{
	ok(index($seen, $must_not_be_seen{$name}) < 0, "not in pg_stat_statements: $name");
}

$node->stop;
done_testing();
