# Whatever is killed, a board's versions only grow, and what was acknowledged is in the list afterwards.
# Needs servers that die without a word.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('versions', conf => "synchronous_commit = on\nrestart_after_crash = on\n");
my $db = 'game';
create_database($node, $db);

my $score = 0;

# One more score; returns the version that shows it.
sub next_version
{
	$score++;
	add_score($node, $db, 'global', 'anna', $score);
	return wait_for_list($node, $db, 'global', $score);
}

# Is the version the moment of the publication in milliseconds, give or take how many there were since?
sub at_the_clock
{
	return $node->safe_psql($db,
		q{SELECT abs(extract(epoch FROM updated_at) * 1000 - version) < 60000
		  FROM scoreboard.top WHERE board = 'global'}) eq 't';
}

my $seen = next_version();
foreach my $round (1 .. 3)
{
	$score++;
	add_score($node, $db, 'global', 'anna', $score);
	my $last = version($node, $db, 'global');
	cmp_ok($last, '>=', $seen, "round $round: no version goes back while the server runs");

	kill_and_start($node);
	my $first = wait_for_version($node, $db, 'global', $last + 1);
	cmp_ok($first, '>', $last, "round $round: published anew after a crash of the server");
	ok(at_the_clock(), "round $round: with a leap to the clock");
	$seen = wait_for_list($node, $db, 'global', $score);
}

# kill -9 of the worker: the server starts all over by itself.
my $pid = publisher_pid($node, $db);
my $last = version($node, $db, 'global');
kill('KILL', $pid) or die "no process $pid";
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND pid <> $pid")
  or die 'the server did not come back';
cmp_ok(wait_for_version($node, $db, 'global', $last + 1), '>', $last,
	'published anew after kill -9 of the publisher');

# A version from the future is kept and reported.
my $future = $node->safe_psql($db,
	q{UPDATE scoreboard.top SET version = version + 86400000 WHERE board = 'global' RETURNING version});
my $offset = -s $node->logfile;
$node->restart;
is(wait_for_version($node, $db, 'global', $future + 1), $future + 1, 'a stored version ahead of the clock goes on by one');
ok($node->wait_for_log(qr/stored version $future of scoreboard "global" is ahead of the clock/, $offset), 'and is logged');

# The row is derived: without it the board begins anew, at the clock or beyond what its publisher knows.
$last = version($node, $db, 'global');
$node->safe_psql($db, 'DELETE FROM scoreboard.top');
cmp_ok(next_version(), '>', $last, 'a stored document that somebody removed comes back with a newer version');

$node->stop;
done_testing();
