# Events reach a consumer by cursor and one by logical decoding, whatever is killed (-9) meanwhile: each of both, the publisher, the
# whole server. Each action has one event with one id at one position, in both; what comes again has the id that it had.
# Needs processes to kill, and pg_recvlogical.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $writers = 4;
my $actions = 1500;    # of each writer
my $steps = 40;        # at each of which something is killed
my $seed = $ENV{OUTBOX_SEED} // time();

note("OUTBOX_SEED=$seed");
srand($seed);

my $node = new_node('outbox', conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.outbox = on
restart_after_crash = on
synchronous_commit = off
wal_level = logical
max_wal_senders = 4
max_replication_slots = 4
wal_sender_timeout = 5s
EOT
create_database($node, 'game');
$node->safe_psql('game', q{
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('HIT', 'trusted', 1);
	UPDATE scoreboard.board SET publish_interval_ms = 10;
	CREATE PUBLICATION outbox FOR TABLE scoreboard.event WITH (publish = 'insert');
	SELECT scoreboard_create_consumer('cursor');
	SELECT pg_create_logical_replication_slot('outbox', 'pgoutput')});

my $parent = $$;
my $directory = PostgreSQL::Test::Utils::tempdir;
my $connection = $node->connstr('game');

# Of whom everything that they talk to is killed
sub quietly
{
	my ($code, @arguments) = @_;

	open(STDERR, '>', '/dev/null') or die $!;
	$code->(@arguments);
	return;
}

# Asks again, under the same idempotency key, until there is an answer. Now and then two actions share a transaction, and one is rolled back.
sub write_actions
{
	my ($writer) = @_;
	my $next = 1;

	open(my $done, '>', "$directory/done$writer") or die $!;
	$done->autoflush(1);
	while ($next <= $actions && getppid() == $parent)
	{
		open(my $script, '>', "$directory/script$writer") or die $!;
		foreach my $n ($next .. $actions)
		{
			my $call = sub { my ($number) = @_; return "scoreboard_increment_for('w$writer-p" . $number % 3 . "', 'HIT', 'w$writer-a$number', idempotency_key => 'k')" };

			print $script "BEGIN; SELECT score FROM " . $call->($n) . "; SAVEPOINT s; SELECT score FROM " . $call->(-$n) . "; ROLLBACK TO s; COMMIT;\nSELECT 'done', $n;\n" if $n % 7 == 0;
			print $script "SELECT score FROM " . $call->($n) . ";\nSELECT 'done', $n;\n" unless $n % 7 == 0;
		}
		close($script);
		open(my $answers, '-|', "psql -XAtq -v ON_ERROR_STOP=1 -d '$connection' -f '$directory/script$writer'") or die $!;
		while (my $line = <$answers>)
		{
			next unless $line =~ /^done\|(\d+)\n\z/;
			$next = $1 + 1;
			print $done $line;
		}
		close($answers);
		usleep(20_000);
	}
	return;
}

# Notes what it is given, and acknowledges it then.
sub read_by_cursor
{
	my ($file) = @_;

	open(my $noted, '>', $file) or die $!;
	$noted->autoflush(1);
	while (getppid() == $parent)
	{
		my $last;

		open(my $events, '-|', "psql -XAtq -d '$connection' -c \"SELECT position, event_id, type, coalesce(payload ->> 'actionId', '-') FROM scoreboard_events('cursor', 40)\"") or die $!;
		while (my $line = <$events>)
		{
			next unless $line =~ /^(\d+)\|[-0-9a-f]{36}\|[a-z.]+\|\S+\n\z/;
			print $noted $line;
			$last = $1;
		}
		close($events);
		system("psql -XAtq -d '$connection' -c \"SELECT scoreboard_acknowledge('cursor', $last)\"") if defined $last;
		usleep(5_000) unless defined $last;
	}
	return;
}

# Keeps what pgoutput says; README has the same commands.
sub read_by_decoding
{
	my ($file) = @_;

	exec('pg_recvlogical', '-d', $connection, '--slot', 'outbox', '--start', '--no-loop', '-F', '1', '-s', '1', '-o', 'proto_version=1', '-o', 'publication_names=outbox', '-f', $file)
	  or die $!;
}

my %readers = (cursor => { code => \&read_by_cursor, runs => 0 }, decoding => { code => \&read_by_decoding, runs => 0 });

sub start_reader
{
	my ($which) = @_;
	my $reader = $readers{$which};

	$reader->{runs}++;
	$reader->{pid} = start_child(\&quietly, $reader->{code}, "$directory/$which$reader->{runs}");
	return;
}

# Where it has ended by itself, as it does with its server, it begins again.
sub look_after_readers
{
	foreach my $which (keys %readers)
	{
		start_reader($which) if !$readers{$which}{pid} || waitpid($readers{$which}{pid}, POSIX::WNOHANG()) != 0;
	}
	return;
}

sub kill_reader
{
	my ($which) = @_;
	my $pid = $readers{$which}{pid} // return;

	kill('KILL', $pid);
	waitpid($pid, 0);
	$readers{$which}{pid} = undef;
	return;
}

# What a reader has noted in one of its runs: lines of position, id, type, action. The last one may be torn.
sub noted_in
{
	my ($which, $run) = @_;
	my $file = "$directory/$which$run";
	my $text = -e $file ? slurp_file($file) : '';
	my @events;

	return map { [ split(/\|/) ] } grep { /^\d+\|[-0-9a-f]{36}\|[a-z.]+\|\S+$/ } split(/\n/, $text) if $which eq 'cursor';
	# An INSERT: relation, N, ten columns; each t and its length, or n.
	foreach my $message (split(/(?=I....N\x00\x0at)/s, $text))
	{
		next unless $message =~ /^I....N\x00\x0at....(\d+)t\x00\x00\x00\x24([-0-9a-f]{36})t....([a-z.]+)[tn]/s;
		my @head = ($1, $2, $3);
		# numbered_at comes last: the message is there to its end.
		next unless $message =~ /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\n]*\n/;
		push @events, [ @head, $message =~ /"actionId" : "([^"]+)"/ ? $1 : '-' ];
	}
	return @events;
}

sub noted
{
	my ($which) = @_;

	return map { noted_in($which, $_) } 1 .. $readers{$which}{runs};
}

sub publisher_dies
{
	my $pid = '';

	$node->psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'scoreboard publisher' AND datname = 'game'}, stdout => \$pid);
	kill('KILL', $pid) if $pid;
	return;
}

# How many actions were answered
sub progress
{
	my $done = 0;

	foreach my $writer (1 .. $writers)
	{
		$done += () = slurp_file("$directory/done$writer") =~ /\n/g if -e "$directory/done$writer";
	}
	return $done;
}

my @children = map { start_child(\&quietly, \&write_actions, $_) } 1 .. $writers;
my %killed = map { $_ => 0 } qw(cursor decoding publisher server);

foreach my $step (1 .. $steps)
{
	my $which = $step % 10 != 5 ? (rand() < 0.6 ? 'cursor' : 'decoding') : $step % 20 == 5 ? 'publisher' : 'server';

	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (progress() < $step * $writers * $actions / ($steps + 1))
	{
		die 'the writers get nowhere' if time() > $deadline;
		look_after_readers();
		usleep(2_000);
	}
	look_after_readers();
	usleep(rand(30_000));
	kill_reader($which) if $readers{$which};
	publisher_dies() if $which eq 'publisher';
	kill_and_start($node) if $which eq 'server';
	$killed{$which}++;
}
waitpid($_, 0) foreach @children;
note(join(', ', map { "$_ killed: $killed{$_}" } sort keys %killed));

# All has its position in the end
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	look_after_readers();
	my $left = '';
	$node->psql('game', 'SELECT count(*) FROM scoreboard.pending_event', stdout => \$left);
	last if $left eq '0';
	usleep(100_000);
}
is($node->safe_psql('game', 'SELECT count(*) FROM scoreboard.pending_event'), 0, 'nothing waits for its position');
my %stored = map { my ($position, $id, $type, $action) = split(/\|/); ($position => "$id|$type|$action") }
  split(/\n/, $node->safe_psql('game', q{SELECT position, event_id, type, coalesce(payload ->> 'actionId', '-') FROM scoreboard.event}));
my @logged = split(/\n/, $node->safe_psql('game', 'SELECT action_id FROM scoreboard.action ORDER BY action_id COLLATE "C"'));

is(scalar(@logged), $writers * $actions, 'all actions were counted');
is_deeply([ sort map { (split(/\|/))[2] } grep { /\|action\|/ } values %stored ], \@logged, 'each has one event');
is($node->safe_psql('game', 'SELECT count(*) - count(DISTINCT event_id) FROM scoreboard.event'), 0, 'no id twice');
cmp_ok(scalar(grep { /\|overtaken\|/ } values %stored), '>', 0, 'players were overtaken');

foreach my $which (sort keys %readers)
{
	my $complete = 0;

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my %seen = map { $_->[0] => 1 } noted($which);

		$complete = !grep { !$seen{$_} } keys %stored;
		last if $complete;
		look_after_readers();
		usleep(100_000);
	}
	ok($complete, "$which: nothing is missed");
	my @wrong = grep { ($stored{ $_->[0] } // '') ne join('|', @{$_}[ 1 .. 3 ]) } noted($which);
	is_deeply(\@wrong, [], "$which: a position has the event that it had");
	# What is new lies behind all that was there before, over all runs: nothing comes late.
	my ($last, %seen, @late) = (0);
	foreach my $position (map { $_->[0] } noted($which))
	{
		next if $seen{$position}++;
		push @late, "$position after $last" if $position < $last;
		$last = $position;
	}
	is_deeply(\@late, [], "$which: whoever has seen a position has seen all before it");
	my $noted = noted($which);
	note(sprintf('%s: %d events in %d runs, %d of them again', $which, $noted, $readers{$which}{runs}, $noted - keys %stored));
}
kill_reader($_) foreach keys %readers;

$node->stop;
done_testing();
