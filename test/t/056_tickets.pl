# Many who make tickets at once, of one player and of many, neither fail nor run into each other, whatever has expired meanwhile;
# a player has three at most.
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

my $db = 'game';
my $node = new_node('tickets');
create_database($node, $db);
$node->safe_psql($db, slurp_file("$FindBin::RealBin/../lib/signing.sql"));
$node->safe_psql($db, q{CREATE TABLE token AS SELECT n, sign.token('p' || n) AS token FROM generate_series(1, 20) n});

# 8 sessions, each with the script so many times. An error ends its session, and is told.
sub at_once
{
	my ($what, $text) = @_;
	my $script = "$PostgreSQL::Test::Utils::tmp_check/tickets.sql";
	my ($out, $err);

	open(my $file, '>', $script) or die "$script: $!";
	print $file $text;
	close $file;
	ok(IPC::Run::run([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 300, '-f', $script, $node->connstr($db) ], '>', \$out, '2>', \$err), "$what: all sessions come to their end");
	like($out, qr/actually processed: 2400\/2400/, "$what: nothing fails") or diag($out . $err);
	cmp_ok($node->safe_psql($db, 'SELECT max(n) FROM (SELECT count(*) AS n FROM scoreboard.stream_ticket GROUP BY user_id) t'), '<=', 3,
		"$what: three a player at most");
	return;
}

at_once('one player', q{SELECT FROM token t, LATERAL scoreboard_create_ticket(t.token) WHERE t.n = 1;
});
is($node->safe_psql($db, 'SELECT count(*) FROM scoreboard.stream_ticket WHERE expires_at > now()'), 3, 'three live ones are left');
at_once('many players, some of whose tickets expire', q{
\set n random(1, 20)
SELECT FROM token t, LATERAL scoreboard_create_ticket(t.token) WHERE t.n = :n;
UPDATE scoreboard.stream_ticket SET expires_at = now() - interval '1 s'
	WHERE digest = (SELECT digest FROM scoreboard.stream_ticket WHERE user_id = 'p' || :n LIMIT 1 FOR UPDATE SKIP LOCKED);
});
unlike(slurp_file($node->logfile), qr/deadlock/, 'there was no deadlock');

done_testing();
