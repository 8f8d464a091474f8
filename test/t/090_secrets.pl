# No secret, token or receipt comes into the server's log, an error or pg_stat_statements, not even where a refused statement
# carries it as a literal.
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
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
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
	CREATE FUNCTION base64url(data bytea) RETURNS text LANGUAGE sql AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
	CREATE TABLE signed (what text, secret text)});
my $offset = -s $node->logfile;

# Everything that must not be seen, made by the database itself and fetched from a table, so that no statement of the test holds it.
my $jwt_secret = 'Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmFyeSE';
$node->safe_psql('game', qq{
	INSERT INTO signed SELECT 'key', scoreboard_create_key('game');
	INSERT INTO signed SELECT 'rotated', scoreboard_rotate_key('game', 'game-2');
	SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "kid": "k1", "k": "$jwt_secret"}]}', 'a:');
	INSERT INTO signed SELECT 'token', p || '.' || base64url(hmac(p::bytea, decode('$jwt_secret=', 'base64'), 'sha256'))
		FROM (SELECT base64url('{"alg":"HS256","kid":"k1"}') || '.' || base64url(format('{"iss":"https://a.test","sub":"ada","exp":%s}', floor(extract(epoch FROM now()))::bigint + 3000)::bytea)) AS t (p)});
my %secret = map { split(/\|/) } split(/\n/, $node->safe_psql('game', 'SELECT what, secret FROM signed'));
my $now = $node->safe_psql('game', 'SELECT floor(extract(epoch FROM now()))::bigint');

sub receipt
{
	my ($action) = @_;

	return 'v1:game:' . $node->safe_psql('game', qq{
		SELECT encode(hmac(concat_ws(E'\\n', 'scoreboard-receipt-v1', 'game', 'global', 'a:ada', 'LEVEL', '$action', '', '', '', $now), secret, 'sha256'), 'hex') FROM signed WHERE what = 'key'});
}

my $receipt = receipt('a');
my $forged = 'v1:game:' . 'f0' x 32;
my $token = $secret{token};

sub call
{
	my ($statement) = @_;
	my ($status, $output, $errors) = $node->psql('game', $statement);

	return $status == 0 ? $output : $errors;
}

like(call("SELECT score FROM scoreboard_increment('LEVEL', 'a', issued_at => $now, receipt => '$receipt', token => '$token')"), qr/^5$/, 'counted, with literals');

# Refused, all with the token as a literal
my %refused = (
	'duplicate' => "SELECT scoreboard_increment('LEVEL', 'a', issued_at => $now, receipt => '$receipt', token => '$token')",
	'forged receipt' => "SELECT scoreboard_increment('LEVEL', 'b', issued_at => $now, receipt => '$forged', token => '$token')",
	'forged token' => "SELECT scoreboard_increment('LEVEL', 'b', issued_at => $now, receipt => '$receipt', token => '${token}x')",
	'ill-formed' => "SELECT scoreboard_increment('', 'b', receipt => '$receipt', token => '$token')",
	'no board' => "SELECT scoreboard_increment('LEVEL', 'b', 'none', issued_at => $now, receipt => '$receipt', token => '$token')",
	'read' => "SELECT scoreboard_me('none', token => '$token')",
	'list' => "SELECT * FROM scoreboard_top(entries => 0, token => '$token')",
	'batch' => qq{SELECT * FROM scoreboard_submit('{"token": "$token", "receipt": "$receipt"}')},
	'within PL/pgSQL' => qq{DO \$\$ BEGIN PERFORM scoreboard_increment('LEVEL', 'a', issued_at => $now, receipt => '$receipt', token => '$token'); END \$\$},
	'issuer' => qq{SELECT scoreboard_set_issuer('https://c.test', '{"keys": [{"kty": "oct", "alg": "none", "k": "$jwt_secret"}]}', 'c:')},
);
foreach my $name (sort keys %refused)
{
	my $errors = call($refused{$name});

	like($errors, qr/ERROR/, "$name: refused");
	unlike($errors, qr/\Q$token\E|\Q$receipt\E|\Q$forged\E|$jwt_secret/, "$name: the error holds no secret") unless $name eq 'within PL/pgSQL';
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

my $log = substr(slurp_file($node->logfile), $offset);
like($log, qr/ counted already/, 'refusals are logged');
my %must_not_be_seen = (%secret, 'receipt' => $receipt, 'late receipt' => $late_receipt, 'forged receipt' => $forged, 'signature of the token' => (split(/\./, $token))[2],
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
