# Part of scoreboard; PostgreSQL licence, see LICENSE.

=pod

=head1 NAME

ScoreboardTest - servers with scoreboard preloaded, and what tests wait for

=head1 DESCRIPTION

Every wait is for a condition, under PostgreSQL::Test::Utils' own time limit, so
that a slow machine makes a test slow and never wrong.

=cut

package ScoreboardTest;

use strict;
use warnings;

use Exporter 'import';
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  init_node new_node create_database kill_and_start
  wait_until wait_for_publisher wait_for_no_publisher publisher_pid stop_publisher
  version wait_for_version wait_for_list add_score start_child
);

# A cluster that is not running yet. Options: conf (text for postgresql.conf), streaming.
sub init_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	# The test module sets LC_ALL=C, which alone would mean SQL_ASCII.
	$node->init(
		extra            => [ '--encoding=UTF8', '--locale=C' ],
		allows_streaming => $options{streaming} // 0);
	$node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
	return $node;
}

# A running one with scoreboard preloaded; the extension is not created. No night begins in the midst of a test.
sub new_node
{
	my ($name, %options) = @_;
	my $conf = $options{conf} // '';
	my $node = init_node($name, %options,
		conf => "shared_preload_libraries = 'scoreboard'\nscoreboard.verify_at = off\n$conf");

	$node->start;
	return $node;
}

# kill -9 of the postmaster, and a new start. Its children notice by themselves; a new one can't start before
# the last of them is gone.
sub kill_and_start
{
	my ($node) = @_;

	$node->kill9;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		usleep(100_000);

		# The pid file is still the dead server's: has the module forget it.
		$node->stop('fast', fail_ok => 1);
	}
	die 'the server did not start again';
}

# A database with the extension, whose publisher has published.
sub create_database
{
	my ($node, $database) = @_;

	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	$node->safe_psql($database, 'CREATE EXTENSION scoreboard CASCADE');
	wait_for_version($node, $database, 'global', 1);
	return;
}

sub wait_until
{
	my ($node, $database, $condition, $what) = @_;

	$node->poll_query_until($database, "SELECT $condition")
	  or die "waited in vain until $what";
	return;
}

my $publishers = q{FROM pg_catalog.pg_stat_activity WHERE backend_type = 'scoreboard publisher'};

sub wait_for_publisher
{
	my ($node, $database) = @_;

	wait_until($node, 'postgres', "count(*) = 1 $publishers AND datname = '$database'",
		"database $database has its publisher");
	return;
}

sub wait_for_no_publisher
{
	my ($node, $database) = @_;

	wait_until($node, 'postgres', "count(*) = 0 $publishers AND datname = '$database'",
		"database $database has no publisher");
	return;
}

sub publisher_pid
{
	my ($node, $database) = @_;

	return $node->safe_psql('postgres', "SELECT pid $publishers AND datname = '$database'");
}

# SIGSTOP where it waits for something to do: at any other moment it may hold a lock that everybody needs.
sub stop_publisher
{
	my ($node, $database) = @_;
	my $pid = publisher_pid($node, $database);
	my $rests = "(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid)";

	for (;;)
	{
		wait_until($node, $database, $rests, 'the publisher rests');
		kill('STOP', $pid);
		return $pid if $node->safe_psql($database, "SELECT $rests") eq 't';
		kill('CONT', $pid);
	}
}

# The stored version; empty if there is none.
sub version
{
	my ($node, $database, $board) = @_;

	return $node->safe_psql($database,
		"SELECT version FROM scoreboard.top WHERE board = '$board'");
}

sub wait_for_version
{
	my ($node, $database, $board, $version) = @_;

	wait_until($node, $database,
		"EXISTS (SELECT FROM scoreboard.top WHERE board = '$board' AND version >= $version)",
		"board $board reaches version $version");
	return version($node, $database, $board);
}

# Waits until the published list shows these scores ("30 20"), and returns its version.
sub wait_for_list
{
	my ($node, $database, $board, $scores) = @_;

	wait_until($node, $database,
		"coalesce((SELECT string_agg(e ->> 'score', ' ' ORDER BY n)"
		  . " FROM json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x (e, n)), '') = '$scores'"
		  . " FROM scoreboard.top t WHERE t.board = '$board'",
		"board $board shows the scores $scores");
	return version($node, $database, $board);
}

# Gives a player a score, as an administrator's SQL does.
sub add_score
{
	my ($node, $database, $board, $user_id, $score) = @_;

	$node->safe_psql(
		$database, qq{
		BEGIN;
		INSERT INTO scoreboard.player (user_id) VALUES ('$user_id') ON CONFLICT DO NOTHING;
		INSERT INTO scoreboard.score AS s (board_id, season, player_id, score, reached_at)
			SELECT b.board_id, 1, p.player_id, $score, pg_catalog.clock_timestamp()
			FROM scoreboard.board b, scoreboard.player p
			WHERE b.name = '$board' AND p.user_id = '$user_id'
			ON CONFLICT (board_id, season, player_id)
			DO UPDATE SET score = excluded.score, reached_at = excluded.reached_at;
		COMMIT;
	});
	return;
}

# Runs the code in a process of its own; its pid.
sub start_child
{
	my ($code, @arguments) = @_;
	my $pid = fork() // die "could not fork: $!";

	return $pid if $pid;
	# Whoever reads the test's output must not wait for us.
	open(STDOUT, '>', '/dev/null') or die $!;
	eval { $code->(@arguments); 1 } or warn $@;
	# Without perl's clean-up, which would stop the parent's server.
	POSIX::_exit(0);
}

1;
