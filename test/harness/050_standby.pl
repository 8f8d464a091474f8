# The README's high availability: its blocks are run in order, by one shell, for somebody who has followed the first five minutes. A block
# that has an output beside it only looks, and is run until it prints that.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use utf8;
use File::Temp;
use IO::Socket::INET;
use Test::More;

my ($section) = slurp('README.md') =~ /^## High availability\n(.*?)^## /ms or die 'README.md has no such section';
my @blocks;
while ($section =~ /^```(sh|sql|text)\n(.*?)^```$/msg)
{
	if ($1 eq 'text') { $blocks[-1]{prints} = $2 }
	else { push @blocks, { language => $1, text => $2 } }
}
is(scalar(grep { $_->{prints} } @blocks), 2, 'the README says what two of its blocks print');
cmp_ok(scalar @blocks, '>=', 6, 'it has blocks to run');

my $home = File::Temp->newdir(TEMPLATE => '/tmp/standby-XXXXXX'); # a socket's path may have 107 characters
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
%ENV = (%ENV, HOME => "$home", PGDATA => "$home/game", PGHOST => "$home/game", PGUSER => 'postgres', PATH => "$ENV{PG_BINDIR}:$ENV{RUN_PREFIX}/usr/local/bin:$ENV{PATH}");

my $script = <<'END';
set -e
trap 'tail -n 20 ~/game-b/log; kill %1 2>/dev/null; for data in ~/game ~/game-b; do [ ! -e $data/postmaster.pid ] || pg_ctl stop --pgdata=$data --mode=immediate; done' EXIT
until_it_prints()
{
	for ((n = 0; n < 300; n++))
	do
		output=$(bash -c "$1" 2>&1) || true
		! printf '%s\n' "$output" | perl -0777 -ne "exit !/$2/" || { printf '%s\n' "$output"; return; }
		sleep 0.1
	done
	printf 'not printed: %s\n' "$output"
	exit 1
}
initdb --username=postgres --auth=trust >~/initdb.log
printf '%s\n' "shared_preload_libraries = 'scoreboard'" "unix_socket_directories = '$PGHOST'" "listen_addresses = ''" >>$PGDATA/postgresql.conf
pg_ctl start --log=$PGDATA/log
createdb --encoding=UTF8 --template=template0 game && export PGDATABASE=game
psql -Xq -v ON_ERROR_STOP=1 <<'SQL'
CREATE EXTENSION pgcrypto;
CREATE EXTENSION scoreboard;
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', 1, 1000);
SELECT FROM scoreboard_increment_for('ann', 'AWARD', 'award-1', points => 250);
SELECT FROM scoreboard_increment_for('bob', 'AWARD', 'award-2', points => 100);
CREATE ROLE bridge LOGIN;
SELECT scoreboard_grant_access('bridge', 'gateway');
SQL
END
my $number = 0;
foreach my $block (@blocks)
{
	my $text = $block->{text} =~ s/\b8080\b/$port/gr;
	$text = "psql -X -v ON_ERROR_STOP=1 <<'BLOCK'\n${text}BLOCK\n" if $block->{language} eq 'sql';
	if ($block->{prints})
	{
		$text = "until_it_prints \"\$(cat <<'LOOK'\n${text}LOOK\n)\" '" . pattern($block->{prints}) . "'\n";
	}
	$script .= sprintf("echo '== block %d'\n%s\n[ \$? = 0 ]\n", ++$number, $text);
}
# The standby that was made last has what the new primary counts.
$script .= <<'END';
psql -Xq --host=$HOME --port=5433 -c "SELECT FROM scoreboard_increment_for('bob', 'AWARD', 'award-3', points => 200)"
until_it_prints "psql -XAt -c 'SELECT pg_is_in_recovery(), user_id, score FROM scoreboard_top(entries => 1)'" 't.bob.300'
echo '== end'
END
spew("$home/script", $script);
my $status = system("bash $home/script >$home/output 2>&1 </dev/null");
my $output = slurp("$home/output");
note($output);
is($status, 0, 'all of them run, and print what the README says');
like($output, qr/^== end$/m, 'to the end');
done_testing();

# Widths may be others, and … stands for anything.
sub pattern
{
	my ($text) = @_;
	return join '', map { $_ eq '…' ? '.*?' : /^-+$/ ? '-+' : /^\s+$/ ? '\s+' : quotemeta $_ } grep { length } split /(…|\s+|-{3,})/, $text =~ s/\s+\z//r;
}

sub slurp
{
	open my $file, '<:utf8', $_[0] or die "$_[0]: $!";
	local $/;
	return scalar <$file>;
}

sub spew
{
	open my $file, '>:utf8', $_[0] or die "$_[0]: $!";
	print $file $_[1];
	close $file;
	return;
}
