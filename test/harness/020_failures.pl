# Where a run can't even start, it says why, and the last line is the sum all the same.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use File::Temp;
use Test::More;

my $commands = File::Temp->newdir();
delete @ENV{qw(SUITES ONLY)};

fails_as('npm ci failed', 'bridge', npm => 'echo no network; exit 1');
fails_as('apt-get update failed', 'regress', 'dpkg-query' => 'exit 1', sudo => 'exec "$@"', 'apt-get' => 'echo no network; exit 100');
fails_as('apt-get install failed', 'regress', 'dpkg-query' => 'exit 1', sudo => '[ $1 = env ] || exit 0; exec "$@"',
	'apt-get' => '[[ " $* " = *" update "* ]] && exit 0; echo no network; exit 100');
fails_as('neither root nor sudo', 'regress', 'dpkg-query' => 'exit 1') if system('command -v sudo >/dev/null') != 0;
fails_as('no PostgreSQL', 'regress', { PG_CONFIG => '/nowhere/pg_config' });
fails_as('there is no suite', 'nothing');
fails_as('no account', 'regress', { RUN_AS => 'no body' }) if $> == 0;
done_testing();

# These stand before the real ones in the path.
sub fails_as
{
	my ($why, $suite, @commands) = @_;
	my %environment = ref $commands[0] ? %{ shift @commands } : ();
	my %commands = @commands;

	unlink glob "$commands/*";
	foreach my $name (keys %commands)
	{
		open my $file, '>', "$commands/$name" or die $!;
		print $file "#!/bin/bash\n$commands{$name}\n";
		close $file;
		chmod 0755, "$commands/$name";
	}
	local %ENV = (%ENV, PATH => "$commands:$ENV{PATH}", TMPDIR => "$commands", %environment);
	my @lines = split /\n/, `test/run check $suite 2>&1`;
	isnt($?, 0, "$why: the run fails");
	is($lines[-1], '0 passed, 1 failed', 'the last line is the sum');
	like(join("\n", @lines), qr/\Q$why/, 'the reason stands before it');
	is(join(' ', glob "$commands/*.scoreboard"), '', 'nothing is left behind');
	return;
}
