# A backend that gets no memory while it checks a token says so: 53200 (or a defect, XX000), never that the token is bad, and never
# does it take a bad one. Each allocation of scoreboard's and its libraries' fails in turn; the session lives on.
# What the plain C does under it has its unit test, test/unit/token_memory.c; this one is about what becomes of that.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
my $include = `$pg_config --includedir-server`;
chomp $include;
my $shim = "$PostgreSQL::Test::Utils::tmp_check/failing_malloc.so";
system('gcc', '-shared', '-fPIC', '-O1', '-D_GNU_SOURCE', "-I$include", '-o', $shim, "$FindBin::RealBin/failing_malloc.c") == 0 or BAIL_OUT('the shim does not compile');

my $node;
{
	local $ENV{LD_PRELOAD} = $shim;
	$node = new_node('memory');
}
create_database($node, 'game');

# Signed once, until 2100: the form of a provider's tokens is issuer.sql's matter.
my $issuers = slurp_file("$FindBin::RealBin/../sql/issuer.sql");
my %set = $issuers =~ /^\\set (\w+) '(.*)'$/mg;
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
$node->safe_psql('game', qq{
	CREATE FUNCTION fail_after(int) RETURNS void LANGUAGE c AS '$shim', 'fail_after';
	CREATE FUNCTION failed() RETURNS bool LANGUAGE c AS '$shim', 'failed';
	DELETE FROM scoreboard.jwt_issuer;
	SELECT scoreboard_set_issuer('https://game.eu.auth0.com/', '$set{rsa}', 'auth0:', audience => 'https://api.game.example', max_lifetime => '100 years', preset => 'auth0');
	SELECT scoreboard_set_issuer('https://abcdefgh.supabase.co/auth/v1', '$set{ec}', 'supabase:', max_lifetime => '100 years', preset => 'supabase');
	SELECT scoreboard_set_issuer('https://id.test', json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'k1', 'k', sign.base64url(sign.jwt_secret()))))::text, 'id:');
	-- How often each answer came, until no allocation is left that could fail.
	CREATE PROCEDURE attempt(token text, INOUT answers text) LANGUAGE plpgsql AS \$\$
	DECLARE
		answer text;
		reached bool := true;
		n int := 0;
	BEGIN
		CREATE TEMP TABLE seen (answer text);
		WHILE reached LOOP
			-- The keys are parsed anew, and no token is known.
			UPDATE scoreboard.jwt_issuer SET max_lifetime = max_lifetime;
			COMMIT;
			BEGIN
				PERFORM fail_after(n);
				answer := (SELECT a.user_id FROM scoreboard_authenticate(token) a);
				PERFORM fail_after(-1);
			EXCEPTION WHEN OTHERS THEN
				PERFORM fail_after(-1);
				answer := SQLSTATE;
			END;
			reached := failed();
			INSERT INTO seen VALUES (answer);
			n := n + 1;
		END LOOP;
		SELECT string_agg(s.answer || ' ' || s.times, ', ' ORDER BY s.answer) INTO answers FROM (SELECT seen.answer, count(*) AS times FROM seen GROUP BY 1) s;
		DROP TABLE seen;
	END
	\$\$;
});

sub answers
{
	my ($token) = @_;
	my ($status, $out, $err) = $node->psql('game', "CALL attempt($token, NULL)");
	note("$out $err");
	return $status == 0 ? $out : "failed: $err";
}

my %tokens = (HS256 => [ "sign.token('p')", 'id:p' ], RS256 => [ "'$set{auth0}'", 'auth0:auth0|5f7c8ec7c33c6c004bbafe82' ], ES256 => [ "'$set{supabase}'", 'supabase:0b1f2a3c-0000-4000-8000-000000000001' ]);
for my $name (sort keys %tokens)
{
	my ($token, $user) = @{ $tokens{$name} };
	like(answers($token), qr/^53200 \d\d+, (?:XX000 \d+, )?\Q$user\E \d+$/, "$name: a good one, or no memory");
	like(answers("overlay($token PLACING 'AAAA' FROM length($token) - 12 FOR 4)"), qr/^53200 \d\d+, PT401 \d+(, XX000 \d+)?$/, "$name: a forged one, or no memory");
}
is($node->safe_psql('game', "SELECT user_id FROM scoreboard_authenticate(sign.token('p'))"), 'id:p', 'the server is as it was');
$node->stop;
done_testing();
