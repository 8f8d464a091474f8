#!/usr/bin/perl
# A service manager for one bridge: gives it listening sockets as descriptors from 3 on, hears what it tells, and becomes it, so that
# signals reach it and its end is seen. For node, which has no datagrams of Unix.
#
#   manager.pl HEARD NOTIFY NAME=PORT,... PROGRAM ARGUMENT...
#
# HEARD: a file that gets a line for each datagram. NOTIFY: the socket's path, or @name. NAME=PORT: a socket on 127.0.0.1 (port 0: a free
# one); NAME=closed: a descriptor that is no socket.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use Fcntl;
use POSIX ();
use Socket;

my ($heard, $notify, $sockets, @command) = @ARGV;
my $bridge = $$;

# What it is told, by a process of its own that goes when the bridge has gone.
(my $address = $notify) =~ s/^@/\0/;
socket(my $ear, AF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($ear, pack_sockaddr_un($address)) or die "$notify: $!";
if (fork() == 0)
{
	open(my $log, '>>', $heard) or die $!;
	open(STDERR, '>', '/dev/null');
	open(STDOUT, '>', '/dev/null');
	$log->autoflush(1);
	while (getppid() == $bridge)
	{
		my $ready = '';
		vec($ready, fileno($ear), 1) = 1;
		next unless select($ready, undef, undef, 0.05) > 0;
		recv($ear, my $message, 4096, 0);
		$message =~ s/\n/ | /g;
		print $log "$message\n";
	}
	POSIX::_exit(0);
}
close($ear);

# Descriptors: first out of the way, then to their places.
my (@fds, @names);
for (split /,/, $sockets)
{
	my ($name, $port) = split /=/;
	my $socket;
	if ($port eq 'closed')
	{
		open($socket, '<', '/dev/null') or die $!;
	}
	else
	{
		socket($socket, AF_INET, SOCK_STREAM, 0) or die $!;
		setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
		bind($socket, pack_sockaddr_in($port, INADDR_LOOPBACK)) or die $!;
		listen($socket, 16) or die $!;
	}
	push @names, $name;
	push @fds, fcntl($socket, F_DUPFD, 50) + 0;
}
POSIX::dup2($fds[$_], 3 + $_) // die $! for 0 .. $#fds;
POSIX::close($_) for @fds;
$ENV{NOTIFY_SOCKET} = $notify;
# Not where a test has said whose they are.
$ENV{LISTEN_PID} //= $$;
$ENV{WATCHDOG_PID} //= $$ if $ENV{WATCHDOG_USEC};
@ENV{'LISTEN_FDS', 'LISTEN_FDNAMES'} = (scalar @fds, join ':', @names) if @fds;
exec @command;
die "$command[0]: $!";
