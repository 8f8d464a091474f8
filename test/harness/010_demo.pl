# The demo as a person meets it: on a terminal, until Ctrl-C. It must move, end with status 0 and leave nothing behind; and it must
# leave nothing behind either, whatever of it is killed. Through a pseudo-terminal, since only there Ctrl-C reaches what it should.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use File::Temp;
use IPC::Run qw(start pump finish timeout);
use Test::More;
use Time::HiRes qw(sleep time);

my $PATIENCE = 120;    # seconds for whatever is waited for

# The runs' private directories go here, so that we see whether they go away.
my $temporary = File::Temp->newdir('XXXX', TMPDIR => 1); # short: a run whose directory's path grew too long would go to /tmp, out of our sight
$ENV{TMPDIR} = "$temporary";
delete $ENV{DEMO_SECONDS};

# Runs make demo on a terminal of its own until the board moves; returns the harness, and references to what is typed and printed.
sub play
{
	my ($in, $out) = ('', '');
	my $harness = start([ 'make', '--no-print-directory', 'demo' ],
		'<pty<', \$in, '>pty>', \$out, timeout($PATIENCE));
	eval {
		pump $harness until moves($out);
		1;
	} or diag("the board did not move: $out");
	return ($harness, \$in, \$out);
}

# Whether the output shows a board that moves: three versions of it.
sub moves
{
	my ($output) = @_;
	my %seen = map { $_ => 1 } $output =~ /version (\d+)/g;
	return keys %seen >= 3;
}

sub eventually
{
	my ($condition) = @_;
	my $end = time + $PATIENCE;
	while (!$condition->())
	{
		return 0 if time > $end;
		sleep 0.1;
	}
	return 1;
}

# Processes whose program or working directory lies below our directory.
sub processes
{
	return grep { (readlink($_) // '') =~ /^\Q$temporary\E/ } glob '/proc/[0-9]*/exe /proc/[0-9]*/cwd';
}

sub left_behind
{
	return join ' ', glob("$temporary/*"), processes();
}

# The two processes of lib/contain.c: the one that test/run became, and the keeper below it.
sub containing
{
	my @found = map { m{(\d+)} } grep { (readlink($_) // '') =~ m{^\Q$temporary\E/.*/contain$} } glob '/proc/[0-9]*/exe';
	is(scalar(@found), 2, 'one demo is running');
	return parent($found[0]) == $found[1] ? reverse @found : @found;
}

# The fields of /proc/PID/stat behind the name: state, parent, process group.
sub parent { return (status_of($_[0]))[1]; }
sub group  { return (status_of($_[0]))[2]; }

sub status_of
{
	open my $file, '<', "/proc/$_[0]/stat" or return (0, 0, 0);
	return split / /, <$file> =~ s/.*\) //r;
}

my ($harness, $in, $out) = play();
ok(moves($$out), 'the board moves');
my ($url) = $$out =~ m{(http://127\.0\.0\.1:\d+)/};
ok(defined $url, 'the page\'s address is printed');
is(system('curl', '-fso', '/dev/null', "$url/"), 0, 'the page is served');

$$in .= "\x03";
finish $harness;
is($harness->full_result(0), 0, 'Ctrl-C ends make demo with status 0');
is(left_behind(), '', 'nothing is left behind');
isnt(system('curl', '-fso', '/dev/null', "$url/"), 0, 'the port is closed');

my @kills = (
	[ 'the outermost process', sub { return $_[0]; } ],
	[ 'its process group', sub { return -group($_[0]); } ],
	[ 'the keeper', sub { return $_[1]; } ]);
foreach (@kills)
{
	my ($what, $chosen) = @$_;
	($harness, $in, $out) = play();
	kill 'KILL', $chosen->(containing());
	eval { finish $harness; };
	isnt($harness->full_result(0), 0, "a demo is no success when $what is killed");
	ok(eventually(sub { return left_behind() eq '' }), 'and leaves nothing behind either')
	  or diag(left_behind());
}

done_testing();
