# Refusals outlive what rolls them back: all that is known of them is stored, in order; what came faster than it could be stored is
# counted where it is missing; who floods drives nobody else's out; nothing of it holds up a list. And their lines in the log: JSON,
# one line each, so many a second.
# Needs the worker, the server's log, a crash, and shutdowns.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $node = new_node('refusals', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nlogging_collector = on\nwal_level = replica\nmax_wal_senders = 1\nlog_destination = 'stderr,jsonlog,csvlog'\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }
sub stored { return wait_until($node, $db, "(SELECT coalesce(sum(1 + repeats + dropped), 0) FROM scoreboard.refusal WHERE $_[0]) >= $_[1]", "$_[1] refusals are stored: $_[0]"); }

sql(<<'EOT');
CREATE FUNCTION base64url(data bytea) RETURNS text LANGUAGE sql AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
INSERT INTO scoreboard.action_type (name, points) VALUES ('LEVEL', 5);
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('GIFT', 'trusted', 5);
SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}');
CREATE TABLE token AS SELECT p || '.' || base64url(hmac(p::bytea, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'sha256')) AS token
	FROM (SELECT base64url('{"alg":"HS256"}') || '.' || base64url(format('{"iss":"https://a.test","sub":"ada","exp":%s}', floor(extract(epoch FROM now()))::bigint + 3000)::bytea)) AS t (p);
-- So many single calls that are refused, each in a subtransaction of its own
CREATE PROCEDURE refused(name text, calls int, type text DEFAULT 'NO_SUCH_TYPE') LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 1..calls LOOP
		BEGIN
			PERFORM scoreboard_increment_for(name, type, 'a' || n);
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
END
$$;
EOT
my $token = sql('SELECT token FROM token');

# Everything that is known; of a key that exists and of one that doesn't, in a batch, in a subtransaction, in a transaction with a snapshot of before
my $forged = 'f0' x 32;
sql(qq{SELECT scoreboard_create_key('game')});
sql(qq{SELECT status FROM scoreboard_submit(json_build_array(
	json_build_object('token', '$token', 'actionType', 'LEVEL', 'actionId', 'one', 'issuedAt', 1, 'receipt', 'v1:game:$forged', 'requestId', 'r-1', 'clientAddress', '192.0.2.1'),
	json_build_object('token', '$token', 'actionType', 'LEVEL', 'actionId', 'two', 'issuedAt', 1, 'receipt', 'v1:nobody:$forged', 'requestId', 'r-2'),
	json_build_object('token', '$token', 'actionType', 'GIFT', 'actionId', 'three', 'board', 'global', 'requestId', 'r-3'),
	json_build_object('token', '${token}x', 'actionType', 'LEVEL', 'actionId', 'four', 'requestId', 'r-4'),
	json_build_object('token', '$token', 'actionType', 'LEVEL', 'actionId', 'five', 'board', 'nowhere', 'requestId', 'r-5')))});
$node->psql($db, q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM scoreboard.player; SAVEPOINT a; CALL refused('bob', 1); ROLLBACK TO a; SELECT 1 / 0});
$node->psql($db, q{SELECT scoreboard_increment_for(E'b\x01d', 'LEVEL', 'six')});
stored('true', 7);
is(sql(q{SELECT concat_ws(' ', code, coalesce(quote_literal(replace(user_id, chr(1), '?')), '-'), coalesce(board, '-'), coalesce(action_type, '-'), coalesce(action_id, '-'), coalesce(key_id, '-'), coalesce(request_id, '-'), coalesce(host(client_address), '-'))
		FROM scoreboard.refusal ORDER BY refusal_id}), <<'EOT' =~ s/\n\z//r, 'who, what, with which key, from where');
INVALID_SIGNATURE 'ada' global LEVEL one game r-1 192.0.2.1
INVALID_SIGNATURE 'ada' global LEVEL two nobody r-2 -
ACTION_NOT_ALLOWED 'ada' global GIFT three - r-3 -
UNAUTHORIZED - global LEVEL four - r-4 -
NOT_FOUND 'ada' nowhere LEVEL five - r-5 -
ACTION_NOT_ALLOWED 'bob' global NO_SUCH_TYPE a1 - - -
INVALID_REQUEST 'b?d' global LEVEL six - - -
EOT
# The key whose signature is right, wherever it stands in the receipt: a session key, of a receipt that is too old; and one that has ended
sql(q{INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('STEP', 'session', 5);
	CREATE TABLE device AS SELECT n, k.* FROM (VALUES ('old'), ('ended')) AS t (n), LATERAL scoreboard_create_session_key('ada') AS k});
foreach my $case (['old', 'RECEIPT_EXPIRED'], ['ended', 'INVALID_SIGNATURE'])
{
	my ($n, $code) = @$case;

	sql(q{SELECT scoreboard_revoke_session_keys('ada')}) if $n eq 'ended';
	is(sql(qq{SELECT s.body -> 'error' ->> 'code' FROM device d, LATERAL (SELECT CASE n WHEN 'old' THEN 1 ELSE floor(extract(epoch FROM now()))::bigint END) AS t (at),
			LATERAL scoreboard_submit(json_build_array(json_build_object('token', '$token', 'actionType', 'STEP', 'actionId', n, 'issuedAt', at, 'receipt', format('v1:nobody:%s v1:%s:%s', '$forged', key_id,
				encode(hmac(concat_ws(E'\\n', 'scoreboard-receipt-v1', 'game', 'global', 'ada', 'STEP', n, '', '', '', at), secret, 'sha256'), 'hex'))))) AS s WHERE n = '$n'}), $code, "a session key's receipt: $n");
	stored("action_id = '$n'", 1);
	is(sql(qq{SELECT r.key_id = d.key_id FROM scoreboard.refusal r JOIN device d ON d.n = r.action_id WHERE r.action_id = '$n'}), 't', 'the key that signed is named');
}
is(sql(qq{SELECT count(*) FROM scoreboard.refusal r WHERE r::text ~ '$forged' OR strpos(r::text, '$token') > 0}), 0, 'neither token nor receipt');
is(sql('SELECT count(*) FROM scoreboard.player'), 0, 'nothing else was written');

# More than there is room for, while they can't be stored: the newest stay, in order, and say how many are missing before them.
sql('ALTER TABLE scoreboard.refusal RENAME TO away');
my $lost = sql('SELECT refusals_lost FROM scoreboard_server_stats()');
sql(q{CALL refused('many', 1500)});
is(sql('SELECT refusals_lost FROM scoreboard_server_stats()') - $lost, 1500 - 1024, 'the server counts what was dropped');
sql('ALTER TABLE scoreboard.away RENAME TO refusal');
stored(q{user_id = 'many'}, 1500);
is(sql(q{SELECT concat_ws(' ', count(*), sum(dropped), max(dropped), min(action_id), string_agg(action_id, ',' ORDER BY refusal_id) = string_agg(action_id, ',' ORDER BY refused_at),
		(array_agg(action_id ORDER BY refusal_id))[1], (array_agg(action_id ORDER BY refusal_id DESC))[1]) FROM scoreboard.refusal WHERE user_id = 'many'}),
	'1024 476 476 a1000 t a477 a1500', 'the newest are stored in order, the first of them says how many are missing');

# Somebody sits on the table, and somebody floods: lists go on, and the other player's refusal is not driven out.
my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; LOCK TABLE scoreboard.refusal');
sql(q{CALL refused('quiet', 1)});
sql(q{SELECT count(*) FROM scoreboard_submit((SELECT json_agg(json_build_object('token', 'none', 'actionType', 'LEVEL', 'actionId', 'f' || n)) FROM generate_series(1, 1000) AS n))}) foreach 1 .. 3;
sql(q{SELECT scoreboard_increment_for('list', 'GIFT', 'one')});
wait_for_list($node, $db, 'global', '5');
sql(q{SELECT scoreboard_increment_for('list', 'GIFT', 'two')});
wait_for_list($node, $db, 'global', '10');
is(sql(q{SELECT string_agg(t.score::text, ' ') FROM scoreboard.top, json_to_recordset(document::json -> 'entries') AS t (score bigint) WHERE board = 'global'}), '10', 'lists are published while refusals can not be stored');
$holder->quit;
stored(q{code = 'UNAUTHORIZED' AND action_id ~ '^f[0-9]'}, 3000);
is(sql(q{SELECT concat_ws(' ', sum(1 + repeats), count(*) < 100, sum(dropped)) FROM scoreboard.refusal WHERE code = 'UNAUTHORIZED' AND action_id ~ '^f[0-9]'}), '3000 t 0', 'a flood is counted in few rows');
is(sql(q{SELECT count(*) FROM scoreboard.refusal WHERE user_id = 'quiet'}), 1, 'and drives nobody out');

# Lines of the log
sub lines
{
	my ($since) = @_;
	my $file = $node->data_dir . '/' . sql(q{SELECT pg_current_logfile('jsonlog')});

	return map { $_->{message} =~ /^\{/ ? [ $_, decode_json($_->{message}) ] : () } map { decode_json($_) } split(/\n/, substr(slurp_file($file), $since));
}

# As soon as one of them is of that action
sub wait_for_line
{
	my ($from, $action_id) = @_;

	foreach (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my @found = lines($from);

		return @found if grep { ($_->[1]{actionId} // '') eq $action_id } @found;
		usleep(10_000);
	}
	die "waited in vain for the line of $action_id";
}

sub log_size { return -s $node->data_dir . '/' . sql(q{SELECT pg_current_logfile('jsonlog')}); }

my $since = log_size();
$node->psql($db, q{SELECT scoreboard_increment_for('off', 'NO_SUCH_TYPE', 'a')});
sql(qq{SET scoreboard.log_refusals = 1000;
	SELECT status FROM scoreboard_submit(json_build_array(
		json_build_object('token', '$token', 'actionType', 'LEVEL', 'actionId', E'l\\n\\u009b31m\\u202ex "q" \\\\', 'issuedAt', 1, 'receipt', 'v1:game:$forged', 'requestId', 'r-7', 'clientAddress', '192.0.2.1'),
		json_build_object('token', '$token', 'actionType', 'LEVEL', 'actionId', 'l2', 'issuedAt', 1, 'receipt', 'v1:game:$forged', 'requestId', 'r-8')))});
my @lines = wait_for_line($since, 'l2');
is(scalar @lines, 2, 'a line each, and none where it is off');
is_deeply($lines[0][1], { event => 'scoreboard.refusal', code => 'INVALID_REQUEST', board => 'global', actionType => 'LEVEL', actionId => "l\n\x{9b}31m\x{202e}x \"q\" \\",
	keyId => 'game', requestId => 'r-7', clientAddress => '192.0.2.1', message => 'action id must have 1 to 255 characters, none of them a control character' }, 'the line has all that is known');
is(join(' ', map { $_->[1]{code} . ' ' . $_->[1]{userId} } $lines[1]), 'INVALID_SIGNATURE ada', 'and the player');
unlike($lines[0][0]{message}, qr/[\x00-\x1f\x7f-\x9f]|\x{202e}/, 'nothing in it breaks a line or moves a terminal');
is(join(' ', map { $_->[0]{error_severity} . ($_->[0]{statement} // '') . ($_->[0]{context} // '') } @lines), 'LOG LOG', 'without the statement');
is(scalar(grep { index(encode_json($_->[0]), $forged) >= 0 || index(encode_json($_->[0]), $token) >= 0 } @lines), 0, 'without receipt and token');
like(slurp_file($node->data_dir . '/' . sql(q{SELECT pg_current_logfile('csvlog')})), qr/,LOG,00000,"\{""event"":""scoreboard\.refusal"",/, 'csvlog has it, too');

# Some a second; what has no line is counted in the next one.
$since = log_size();
sql(q{SET scoreboard.log_refusals = 3; CALL refused('loud', 200)});
# Not within the same second
wait_until($node, $db, q{extract(epoch FROM clock_timestamp())::bigint > (SELECT max(extract(epoch FROM refused_at))::bigint + 1 FROM scoreboard.refusal WHERE user_id = 'loud')}, 'the second is over');
sql(q{SET scoreboard.log_refusals = 3; SELECT scoreboard_submit('[{"token": "none", "actionType": "LEVEL", "actionId": "last"}]')});
@lines = map { $_->[1] } wait_for_line($since, 'last');
my $unsaid = 0;
$unsaid += $_->{unsaid} // 0 foreach @lines;
cmp_ok(scalar @lines, '<', 100, 'few lines');
is($unsaid + @lines, 201, 'every refusal has a line or is counted by one');

# So many are kept; what was stored survives a crash, and counting goes on.
sql('ALTER SYSTEM SET scoreboard.refusals_kept = 20');
sql('SELECT pg_reload_conf()');
sql(q{CALL refused('kept', 25)});
stored(q{action_id = 'a25'}, 1);
wait_until($node, $db, '(SELECT count(*) FROM scoreboard.refusal) = 20', '20 are left');
is(sql(q{SELECT string_agg(DISTINCT user_id, ' ') FROM scoreboard.refusal}), 'kept', 'the newest are kept');
kill_and_start($node);
sql(q{CALL refused('after', 1)});
stored(q{user_id = 'after'}, 1);
is(sql(q{SELECT count(*) FILTER (WHERE user_id = 'kept') FROM scoreboard.refusal}), 19, 'what was stored survives a crash');

# What is not stored yet is stored while the server shuts down, whatever keeps the publisher from it until then: storing has failed
# several times, so that it rests; a lock before a list; a standby that there isn't. Sessions end with the server, and their locks.
sub publisher_waits
{
	my ($for, $what) = @_;

	return wait_until($node, $db, "$for FROM pg_stat_activity WHERE application_name LIKE 'scoreboard publisher%' AND datname = '$db'", $what);
}

sub stored_by_the_end
{
	my ($mode, $name, $what) = @_;

	$node->stop($mode);
	$node->adjust_conf('postgresql.auto.conf', 'synchronous_standby_names', undef);
	$node->start;
	is(sql(qq{SELECT count(*) FROM scoreboard.refusal WHERE user_id = '$name'}), 3, "$mode shutdown: $what");
	return;
}

foreach my $mode ('fast', 'smart')
{
	my $from = log_size();

	sql('ALTER TABLE scoreboard.refusal RENAME TO away');
	sql(qq{CALL refused('$mode', 3)});
	# Twice and more, so that it rests for a second at least
	wait_until($node, $db, qq{(SELECT count(*) > 1 FROM regexp_matches(pg_read_file(pg_current_logfile('jsonlog'), $from, 1000000), '"context":"storing refusals"', 'g'))}, 'storing has failed');
	sql('ALTER TABLE scoreboard.away RENAME TO refusal');
	stored_by_the_end($mode, $mode, 'what could not be stored, and waits for another attempt');
}
foreach my $table ('top', 'refusal')
{
	my $locker = $node->background_psql($db);

	$locker->query_safe("BEGIN; LOCK TABLE scoreboard.$table");
	sql(q{UPDATE scoreboard.board SET title = title || 'x'}) if $table eq 'top';
	publisher_waits(q{bool_or(wait_event_type = 'Lock')}, 'it waits for the lock') if $table eq 'top';
	sql(qq{CALL refused('behind $table', 3)});
	stored_by_the_end('fast', "behind $table", "what came while somebody had locked scoreboard.$table");
	$locker->{run}->kill_kill;
}
sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
sql('SELECT pg_reload_conf()');
sql(q{CALL refused('waits', 1)});
publisher_waits(q{bool_or(wait_event = 'SyncRep')}, 'it waits for a standby');
sql(q{CALL refused('alone', 3)});
stored_by_the_end('fast', 'alone', 'what came while a standby was waited for');

$node->stop;
done_testing();
