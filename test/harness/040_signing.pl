# The README's functions that sign, in as many languages as the machine has: each prints the receipt that the README says, and, called for every
# published vector, the vector's. The function is called in one line, which names the key "game-1": it is put there once for each vector.
# psql's runs on a server of its own, where pgcrypto is all that there is.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use Encode;
use File::Temp;
use JSON::PP;
use Test::More;

my ($section) = slurp('README.md') =~ /^### Signing\n(.*?)^### /ms or die 'README.md has no such section';
my %block;
$block{$1} = $2 while $section =~ /^```(\w+)\n(.*?)^```$/msg;
my $published = decode_json(slurp('test/vectors/receipts.json'));
my @vectors = @{ $published->{receipts} };
my $home = File::Temp->newdir();
%ENV = (%ENV, HOME => "$home", TMPDIR => "$home", GOCACHE => "$home/go-build", GOPATH => "$home/go", GO111MODULE => 'off', PATH => "$ENV{PG_BINDIR}:$ENV{PATH}");

# How a program is run, and how a value is written in it: a text, a number, and one that is not given.
my %language = (
	sql => { command => "psql -XAtq -v ON_ERROR_STOP=1 -h $home -d postgres -f", needs => 'psql', text => \&sql_text, number => sub { $_[0] }, none => 'NULL' },
	python => { command => 'python3', needs => 'python3', text => \&json_text, number => sub { $_[0] }, none => "''", no_detail => 'None' },
	js => { command => 'node', needs => 'node', text => \&json_text, number => sub { $_[0] }, none => "''", no_detail => 'undefined', suffix => '.mjs' },
	go => { command => 'go run', needs => 'go', text => \&json_text, number => \&json_text, none => '""', suffix => '.go' },
	sh => { command => 'sh', needs => 'openssl', text => \&shell_text, number => sub { "'$_[0]'" }, none => "''", joint => ' ' });

is(join(' ', sort grep { $_ ne 'text' } keys %block), join(' ', sort keys %language), 'the README signs in these languages');
cmp_ok(scalar @vectors, '>', 10, 'there are vectors');
my ($expected) = $block{text} =~ /\A(\S+)\n\z/;
is($expected, $vectors[0]{receipt}, 'the README prints the first of them');

system("initdb --username=postgres --auth=trust --encoding=UTF8 --locale=C -D $home/data >$home/initdb.log 2>&1") == 0 or die slurp("$home/initdb.log");
system("pg_ctl -D $home/data -w -l $home/log -o \"-k $home -c listen_addresses=''\" start >/dev/null") == 0 or die slurp("$home/log");
$ENV{PGUSER} = 'postgres';
system("psql -Xq -h $home -d postgres -c 'CREATE EXTENSION pgcrypto'") == 0 or die;

foreach my $name (sort keys %language)
{
	my $language = $language{$name};

  SKIP:
	{
		skip("$language->{needs} is not on this machine", 2) unless grep { -x "$_/$language->{needs}" } split /:/, $ENV{PATH};
		is(run($name, $block{$name}), "$expected\n", "$name: prints what the README says");
		my $calls = 0;
		my $every = $block{$name} =~ s/^(.*game-1.*)\n/$calls++; join '', map { call($name, $1, $_) . "\n" } @vectors/gemr;
		die "$name: no line calls the function" unless $calls == 1;
		is(run($name, $every), join('', map { "$_->{receipt}\n" } @vectors), "$name: signs every vector");
	}
}
system("pg_ctl -D $home/data -m immediate stop >/dev/null");
done_testing();

# The README's line with the arguments of a vector in place of its own.
sub call
{
	my ($name, $line, $vector) = @_;
	my $language = $language{$name};
	my @values = map { $language->{text}->($_) } @$vector{qw(key_id key audience board user_id action_type action_id)};

	$values[1] = $language->{text}->($published->{key});
	push @values, $language->{number}->($vector->{issued_at});
	push @values, map { defined $vector->{$_} ? $language->{number}->($vector->{$_}) : $language->{none} } qw(points subscore);
	push @values, defined $vector->{detail} ? $language->{text}->($vector->{detail}) : $language->{no_detail} // $language->{none};
	my $arguments = join($language->{joint} // ', ', @values);
	return "receipt $arguments" if $name eq 'sh';
	return $line =~ s/(receipt)\((?:[^()]*)\)/$1($arguments)/r;
}

sub run
{
	my ($name, $program) = @_;
	my $language = $language{$name};
	my $file = "$home/sign" . ($language->{suffix} // ".$name");

	open my $out, '>', $file or die;
	print $out $program;
	close $out;
	my $output = `$language->{command} $file 2>&1`;
	return $output;
}

sub json_text { return encode_utf8(q{"} . ($_[0] // q{}) =~ s{(["\\])}{\\$1}gr . q{"}); }
sub sql_text { return encode_utf8(q{'} . ($_[0] // q{}) =~ s{'}{''}gr . q{'}); }
sub shell_text { return encode_utf8(q{'} . ($_[0] // q{}) =~ s{'}{'\\''}gr . q{'}); }

sub slurp
{
	open my $file, '<', $_[0] or die "$_[0]: $!";
	local $/;
	return scalar <$file>;
}
