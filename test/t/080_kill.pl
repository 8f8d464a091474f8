# kill -9 of the whole server under load, again and again: what was acknowledged is there, exactly once, with the score that was
# answered, and on every board that it counts towards; the sum of the log is the sum of the scores; a version that somebody saw never comes again with other content.
# Needs a server to kill, and clients that go on by themselves.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $writers = 6;
my $actions = 400;    # of each writer
my $players = 4;      # of each writer
my $kills = 3;

# synchronous_commit is off for everybody: increments are to be durable all the same.
my $node = new_node('kill', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
synchronous_commit = off
wal_writer_delay = 10s
restart_after_crash = off
EOT
create_database($node, 'game');
$node->safe_psql('game', q{
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('HIT', 'trusted', 1);
	UPDATE scoreboard.board SET publish_interval_ms = 10, top_size = 100;
	INSERT INTO scoreboard.board (board_id, name) VALUES (2, 'day');
	INSERT INTO scoreboard.board (board_id, name, counts_towards) VALUES (3, 'region', '{1,2}');
	CHECKPOINT});

my $parent = $$;
my $directory = PostgreSQL::Test::Utils::tempdir;
my $connection = $node->connstr('game');

# Each child asks again, under the same idempotency key, until it has an answer; what was answered is noted in a file of its own.
sub write_actions
{
	my ($writer) = @_;
	my $next = 1;
	my $board = $writer % 2 ? 'region' : 'global';

	open(my $noted, '>', "$directory/writer$writer") or die $!;
	$noted->autoflush(1);
	while ($next <= $actions && getppid() == $parent)
	{
		open(my $script, '>', "$directory/script$writer") or die $!;
		foreach my $n ($next .. $actions)
		{
			my $player = "w$writer-p" . $n % $players;
			print $script "SELECT '$player', 'a$n', score FROM scoreboard_increment_for('$player', 'HIT', 'a$n', '$board', idempotency_key => 'k$n');\n";
		}
		close($script);
		open(my $answers, '-|', "psql -XAtq -v ON_ERROR_STOP=1 -d '$connection' -f '$directory/script$writer' 2>/dev/null") or die $!;
		while (my $line = <$answers>)
		{
			last unless $line =~ /^w\S*\|a\d+\|\d+\n\z/;
			print $noted $line;
			$next++;
		}
		close($answers);
		usleep(20_000);
	}
	return;
}

# Notes every version of the list with its content, as long as the file "stop" is not there.
sub watch
{
	open(my $noted, '>', "$directory/watcher") or die $!;
	$noted->autoflush(1);
	until (-e "$directory/stop" || getppid() != $parent)
	{
		my $script = "SELECT version, md5(document) FROM scoreboard.top WHERE board = 'global';\n" x 500;

		append_to_file("$directory/script", $script) unless -e "$directory/script";
		open(my $answers, '-|', "psql -f '$directory/script' -XAtq -v ON_ERROR_STOP=1 -d '$connection' 2>/dev/null") or die $!;
		while (my $line = <$answers>)
		{
			print $noted $line if $line =~ /^\d+\|\w{32}\n\z/;
		}
		close($answers);
		usleep(20_000);
	}
	return;
}

sub lines
{
	my ($file) = @_;

	return () unless -e $file;
	return split(/\n/, slurp_file($file));
}

sub acknowledged { return map { lines("$directory/writer$_") } 1 .. $writers; }

# True once nobody uses the killed server's shared memory any more: backends that still ran keep it until they notice.
# Where process 1 collects no orphans, as in many containers, the dead postmaster stays as a zombie that its successor would take
# for alive; its lock files may go then.
sub has_ended
{
	my $file = $node->data_dir . '/postmaster.pid';
	my @lines = lines($file);
	my ($segment) = ($lines[6] // '') =~ /(\d+)\s*$/;

	foreach my $line (lines('/proc/sysvipc/shm'))
	{
		my (undef, $id, undef, undef, undef, undef, $attached) = split(' ', $line);

		return 0 if defined $segment && $id eq $segment && $attached > 0;
	}
	return 1 unless @lines && kill(0, $lines[0]);
	return 0 unless lines("/proc/$lines[0]/stat") && slurp_file("/proc/$lines[0]/stat") =~ /\) Z /;
	unlink($file, $node->host . '/.s.PGSQL.' . $node->port . '.lock');
	return 1;
}

sub start_again
{
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

	until (has_ended())
	{
		die 'the killed server does not end' if time() > $deadline;
		usleep(20_000);
	}
	$node->start;
	return;
}

my $watcher = start_child(\&watch);
my @children = map { start_child(\&write_actions, $_) } 1 .. $writers;

foreach my $kill (1 .. $kills)
{
	my $goal = $kill * $writers * $actions / ($kills + 1);

	usleep(20_000) until scalar(acknowledged()) >= $goal;
	$node->kill9;
	start_again();
	is($node->safe_psql('game', 'SELECT pg_is_in_recovery()'), 'f', "killed and started ($kill)");
}
waitpid($_, 0) foreach @children;
my $scores = $node->safe_psql('game',
	"SELECT string_agg(s.score::text, ' ' ORDER BY s.score DESC, s.reached_at) FROM scoreboard.score s WHERE s.board_id = 1");
cmp_ok(wait_for_list($node, 'game', 'global', $scores), '>', 0, 'the list shows the scores in the end');
append_to_file("$directory/stop", '');
waitpid($watcher, 0);

my %answered = map { my ($player, $action, $score) = split(/\|/); ("$player|$action" => $score) } acknowledged();
my %logged = map { my ($player, $action, $score) = split(/\|/); ("$player|$action" => $score) } split(/\n/,
	$node->safe_psql('game', 'SELECT p.user_id, a.action_id, a.score FROM scoreboard.action a JOIN scoreboard.player p USING (player_id)'));
is(scalar(keys %answered), $writers * $actions, 'every action was acknowledged in the end');
is_deeply([ grep { !exists $logged{$_} } sort keys %answered ], [], 'what was acknowledged is there');
is_deeply([ grep { $logged{$_} ne $answered{$_} } grep { exists $logged{$_} } sort keys %answered ],
	[], 'with the score that was answered');
is_deeply([ grep { !exists $answered{$_} } sort keys %logged ], [], 'and nothing else');
my $half = $writers * $actions / 2;
is($node->safe_psql('game', 'SELECT sum(score) FROM scoreboard.score GROUP BY board_id ORDER BY board_id'), join("\n", 2 * $half, $half, $half),
	'each was counted once, on each board');
is($node->safe_psql('game', q{
		WITH log AS (SELECT board_id, player_id, applied_points, score FROM scoreboard.action UNION ALL SELECT board_id, player_id, applied_points, score FROM scoreboard.credit)
		SELECT count(*) FROM (SELECT board_id, player_id, sum(applied_points) AS points, max(score) AS last FROM log GROUP BY 1, 2) AS a FULL JOIN scoreboard.score s USING (board_id, player_id)
		WHERE (s.score, s.score) IS DISTINCT FROM (a.points, a.last)}),
	0, 'the log adds up to the scores, for each player');

my (%content, @twice, @backwards);
my $last = 0;
foreach my $line (lines("$directory/watcher"))
{
	my ($version, $md5) = split(/\|/, $line);

	push @twice, $version if exists $content{$version} && $content{$version} ne $md5;
	push @backwards, "$last $version" if $version < $last;
	$content{$version} = $md5;
	$last = $version;
}
cmp_ok(scalar(keys %content), '>', $kills, 'versions were seen');
is_deeply(\@twice, [], 'no version had two contents');
is_deeply(\@backwards, [], 'versions only grew');

# The same without a kill, since an operating system that lives on keeps what was written: when an increment has been answered, the
# WAL up to its commit is flushed. The position within the transaction lies before that of its commit.
my $script = "SET synchronous_commit = off;\n" . join('', map { "
	BEGIN;
	SELECT score > 0 FROM scoreboard_increment_for('flush', 'HIT', 'f$_');
	SELECT pg_current_wal_insert_lsn() AS position \\gset
	COMMIT;
	SELECT 'flushed ' || (pg_current_wal_flush_lsn() > :'position');
" } 1 .. 50);
my $flushed = $node->safe_psql('game', $script);
is(scalar(() = $flushed =~ /^flushed true$/mg), 50, 'WAL is flushed before the answer, whatever synchronous_commit says');

$node->stop;
done_testing();
