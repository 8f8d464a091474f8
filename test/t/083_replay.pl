# A hundred sessions send the same signed action at the same moment: one is counted, the others get the stored answer where they send its
# idempotency key, DUPLICATE_ACTION where they don't. By a service's key, a session key and a grant; alone and in batches.
# Needs more sessions than an isolation test has.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $sessions = 100;
my $node = new_node('replay', conf => "max_connections = 130\nscoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nfsync = off\n");
create_database($node, 'game');
sub sql { return $node->safe_psql('game', $_[0]); }

sql(q{
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('service', 'service', 3), ('session', 'session', 3), ('grant', 'grant', 3);
	CREATE FUNCTION base64url(data bytea) RETURNS text LANGUAGE sql AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
	SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "k": "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmFyeSE"}]}');
	CREATE TABLE key AS SELECT 'service' AS kind, 'game' AS key_id, scoreboard_create_key('game') AS secret
		UNION ALL SELECT 'session', k.key_id, k.secret FROM scoreboard_create_session_key('ada') AS k;
	CREATE TABLE token AS SELECT p || '.' || base64url(hmac(p::bytea, decode('Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmFyeSE=', 'base64'), 'sha256')) AS token
		FROM (SELECT base64url('{"alg":"HS256"}') || '.' || base64url(format('{"iss":"https://a.test","sub":"ada","exp":%s}', floor(extract(epoch FROM now()))::bigint + 3000)::bytea)) AS t (p);
	-- What each of them sends
	CREATE TABLE sent AS SELECT kind || ' ' || how AS name, kind, how, id, issued_at, (SELECT 'v1:' || k.key_id || ':' || encode(hmac(concat_ws(E'\n', 'scoreboard-receipt-v1', 'game', 'global', 'ada', kind, id, '', '', '', issued_at), k.secret, 'sha256'), 'hex')
			FROM key k WHERE k.kind = t.kind) AS receipt
		FROM (SELECT kind, how, CASE kind WHEN 'grant' THEN scoreboard_create_grant('ada', 'grant') ELSE kind || ' ' || how END AS id, floor(extract(epoch FROM now()))::bigint AS issued_at
			FROM unnest(ARRAY['service', 'session', 'grant']) AS kind, unnest(ARRAY['alone', 'batch']) AS how) AS t;
	CREATE TABLE outcome (name text, answer text);
	CREATE FUNCTION send(what text, key text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		s sent;
		answer text;
		t text := (SELECT t.token FROM token t);
	BEGIN
		SELECT * INTO s FROM sent WHERE sent.name = what;
		IF s.how = 'alone' THEN
			RETURN (SELECT CASE WHEN a.replayed THEN 'replayed ' ELSE 'counted ' END || a.score - a.previous_score
				FROM scoreboard_increment(s.kind, s.id, issued_at => s.issued_at, receipt => s.receipt, token => t, idempotency_key => key) AS a);
		END IF;
		RETURN (SELECT CASE WHEN r.status = 200 THEN CASE WHEN (r.body ->> 'replayed')::boolean THEN 'replayed ' ELSE 'counted ' END || (r.body ->> 'appliedPoints') ELSE r.body -> 'error' ->> 'code' END
			FROM scoreboard_submit(json_build_array(json_strip_nulls(json_build_object('actionType', s.kind, 'actionId', s.id, 'issuedAt', s.issued_at, 'receipt', s.receipt, 'token', t, 'idempotencyKey', key)))) AS r);
	EXCEPTION WHEN SQLSTATE 'PT409' THEN
		GET STACKED DIAGNOSTICS answer = PG_EXCEPTION_DETAIL;
		RETURN answer::json ->> 'code';
	END $$});

# Half of them with one key, half with another. A row of a batch that couldn't have the lock at once asks again, as a bridge does.
my $script = $node->basedir . '/replay.sql';
append_to_file($script, <<'EOT');
\set key :client_id % 2
CALL replay(:what, :key || '-key');
EOT
sql(q{CREATE PROCEDURE replay(what text, key text) LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
	BEGIN
		LOOP
			answer := send(what, key);
			COMMIT;
			EXIT WHEN answer <> 'UNAVAILABLE';
		END LOOP;
		INSERT INTO outcome VALUES (what, answer);
	END $$});

foreach my $what (split(/\n/, sql('SELECT name FROM sent ORDER BY name')))
{
	# All of them wait for the player before the first is let in.
	my $holder = $node->background_psql('game');
	$holder->query_safe(q{BEGIN; SELECT scoreboard.lock_player('ada')}) if $what =~ /alone/;
	my ($output, $errors) = ('', '');
	my $replay = IPC::Run::start([ 'pgbench', '-n', '-c', $sessions, '-j', 2, '-t', 1, '-M', 'simple', '-D', "what='$what'", '-f', $script, $node->connstr('game') ], '>', \$output, '2>', \$errors);

	wait_until($node, 'game', "count(*) = $sessions FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'all of them wait') if $what =~ /alone/;
	$holder->quit;
	ok($replay->finish, "$what: all of them were answered") or diag($errors);
	is(sql("SELECT string_agg(answer || ': ' || n, ', ' ORDER BY answer) FROM (SELECT answer, count(*) AS n FROM outcome WHERE name = '$what' GROUP BY 1) AS t"),
		'DUPLICATE_ACTION: 50, counted 3: 1, replayed 3: 49', "$what: one is counted");
}
is(sql('SELECT count(*), sum(applied_points) FROM scoreboard.action'), '6|18', 'the log has each once');
is(sql('SELECT score FROM scoreboard.score'), '18', 'the score has each once');
is(sql('SELECT count(*) FROM scoreboard.grant_token'), '0', 'the grants are used up');

$node->stop;
done_testing();
