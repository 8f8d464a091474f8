# The README's five minutes: every block of its shell and SQL is run in order, by one shell as a reader's would be, and what it says that
# they print is compared. What differs from a reader's machine: `sudo` just runs (we are nobody, and `make install` goes where
# the first pg_config in the path and PREFIX say: into a copy of the private prefix), `apt-get` only looks whether everything that it is told
# to install is there, and the bridge's port and /usr/local are ours.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use Cwd;
use File::Temp;
use IO::Socket::INET;
use Test::More;

my ($readme, $number) = (slurp('README.md'), 0);
my ($section) = $readme =~ /^(## Five minutes.*?)^## /ms or die 'README.md has no such section';
my @blocks = map { { language => $_->[0], text => $_->[1] } } pairs($section =~ /^```(sh|sql|text)\n(.*?)^```$/msg);

# The private prefix, without what make install shall put there.
my $home = File::Temp->newdir();
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $prefix = $ENV{PG_BINDIR} =~ s{/usr/lib/postgresql/.*}{}r;
my $bin = "$home/prefix" . substr($ENV{PG_BINDIR}, length $prefix);
system('cp', '-a', $prefix, "$home/prefix") == 0 or die;
system("rm -rf $home/prefix/usr/local; find $home/prefix -name 'scoreboard*' -prune -exec rm -rf {} +");
# The headers stay where they are.
system("mkdir -p $home/prefix/usr/include && ln -s /usr/include/postgresql $home/prefix/usr/include") == 0 or die;
my ($major) = `$bin/pg_config --version` =~ /(\d+)/;

mkdir "$home/commands";
script('sudo', 'exec "$@"');
script('apt-get', "shift; for p; do dpkg-query -W \"\${p/-15/-$major}\" >/dev/null || exit 1; done");
delete @ENV{qw(PG_CONFIG PREFIX BRIDGE)};
%ENV = (%ENV, HOME => "$home", PATH => "$home/commands:$bin:$home/prefix/usr/local/bin:$ENV{PATH}",
	PREFIX => "$home/prefix/usr/local", MAKEFLAGS => '-j2');

# A stream goes on for ever: seen is its first event. And whoever types waits a moment after a start.
my $script = <<"END";
set -e
curl()
{
	until command curl -fs -o /dev/null http://127.0.0.1:$port/ready; do kill -0 %1; sleep 0.1; done
	local answer pid
	# In one write: the bridge logs to the same place.
	[ "\$1" = -N ] || { answer=\$(command curl -sS "\$@"); printf '%s\\n' "\$answer"; return; }
	command curl -sS "\$@" >stream & pid=\$!
	until grep '^data:' stream; do kill -0 \$pid; sleep 0.1; done
	kill \$pid
}
END
foreach my $block (grep { $_->{language} ne 'text' } @blocks)
{
	my $text = $block->{text} =~ s/\b8080\b/$port/gr =~ s{/usr/local\b}{$home/prefix/usr/local}gr;
	$text = "psql -X -v ON_ERROR_STOP=1 <<'BLOCK'\n${text}BLOCK\n" if $block->{language} eq 'sql';
	$script .= sprintf("echo '== block %d'\n%s\n[ \$? = 0 ]\n", ++$number, $text); # -e doesn't see the first of a && b fail
}
spew("$home/script", "$script\necho '== end'\n");
cmp_ok($number, '>=', 8, 'the README has blocks to run');
system('cp', '-r', '.', "$home/tree") == 0 or die;
my $status = system("cd $home/tree && bash $home/script >$home/output 2>&1 </dev/null");
my $output = slurp("$home/output");
note($output);
is($status, 0, 'all of them run');
system("pg_ctl -D $home/game -m immediate stop") if -e "$home/game/postmaster.pid";
ok(!-e "$home/game", 'the last ones leave no data');
is(join(' ', glob("$home/prefix/usr/share/postgresql/*/extension/scoreboard* $home/prefix/usr/local/bin/*")), '', 'and nothing installed');

my @printed = split /^== (?:block \d+|end)\n/m, $output;
$number = 0;
foreach my $block (@blocks)
{
	if ($block->{language} ne 'text')
	{
		$number++;
		next;
	}
	foreach my $line (split /\n/, $block->{text})
	{
		like($printed[$number] // '', pattern($line), "block $number prints $line");
	}
}
done_testing();

# A line of the README as a pattern: times and versions are others, widths may be, and … stands for anything.
sub pattern
{
	my ($line) = @_;
	my @parts = map {
		/^\d{4}-/ ? '\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.\d]*(?:Z|\+\d\d)'
		  : $_ eq '…' ? '.*?' : /^-+$/ ? '-+' : /^\s+$/ ? '\s*' : quotemeta $_
	} grep { length } split /(\d{4}-\d\d-\d\d[ T][\d:.]+(?:Z|\+\d\d)|…|\s+|-{3,})/, $line;
	my $pattern = join '', @parts;
	return qr/^$pattern\s*$/m;
}

sub pairs
{
	my @found;
	push @found, [ splice @_, 0, 2 ] while @_;
	return @found;
}

sub script
{
	my ($name, $text) = @_;
	spew("$home/commands/$name", "#!/bin/bash\n$text\n");
	chmod 0755, "$home/commands/$name";
	return;
}

sub slurp
{
	open my $file, '<', $_[0] or die "$_[0]: $!";
	local $/;
	return scalar <$file>;
}

sub spew
{
	open my $file, '>', $_[0] or die "$_[0]: $!";
	print $file $_[1];
	close $file;
	return;
}
