# Part of scoreboard; PostgreSQL licence, see LICENSE.

=pod

=head1 NAME

FalseClock - servers whose wall clock a test sets (false_clock.c)

=cut

package FalseClock;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Utils;
use Time::HiRes ();
use Time::Local qw(timegm);

our @EXPORT = qw(set_clock falsely);

my $directory = PostgreSQL::Test::Utils::tempdir;
my $clock = "$directory/clock";
my $shim = "$directory/false_clock.so";
system('gcc', '-std=c11', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-O1', '-o', $shim, "$FindBin::RealBin/false_clock.c") == 0
  or die 'the shim does not compile';

# From now on the servers' clocks show that moment (UTC), and go on.
sub set_clock
{
	my ($year, $month, $day, $hour, $minute, $second) = @_;
	my $offset = int(1e6 * (timegm($second, $minute, $hour, $day, $month - 1, $year) - Time::HiRes::time()));

	open(my $file, -e $clock ? '+<' : '+>', $clock) or die $!;
	syswrite($file, pack('q', $offset)) == 8 or die $!;
	close($file);
	return;
}

# What starts a server. The clock has been set.
sub falsely
{
	my ($code) = @_;
	my %falsified = (LD_PRELOAD => $shim, FALSE_CLOCK => $clock);
	local @ENV{ keys %falsified } = values %falsified;

	return $code->();
}

1;
