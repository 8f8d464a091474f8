# The README's section about more than one machine: its SQL is run as it stands, with this test's addresses, on three servers that share the
# players. Ranks are held against a count over all tables.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ScoreboardTest;
use Test::More;

my ($section) = slurp_file('README.md') =~ /^(## More than one machine\n.*?)^## /ms or die 'README.md has no such section';
my @blocks = $section =~ /^```sql\n(.*?)^```$/msg;
my ($ask) = grep { /CREATE EXTENSION dblink/ } @blocks or die 'README.md asks nobody';
my ($allow) = grep { /CREATE ROLE ranks/ } @blocks or die 'README.md lets nobody ask';
my $db = 'game';
my %node = map { $_ => new_node($_) } qw(hub europe asia);

foreach my $name (qw(europe asia))
{
	my $address = "host '" . $node{$name}->host . "', port '" . $node{$name}->port . "'";

	ok($ask =~ s/host '$name\.internal', port '5432'/$address/, "the address of $name stands there");
	create_database($node{$name}, $db);
	$node{$name}->safe_psql($db, "INSERT INTO scoreboard.board (name) VALUES ('$name')");
	$node{$name}->safe_psql($db, $allow);
}
create_database($node{hub}, $db);
$node{hub}->safe_psql($db, $ask);

# Players with many equal scores, some of them at the same moment on both servers; every tenth is hidden.
sub fill
{
	my ($name, $from, $to) = @_;

	$node{$name}->safe_psql($db, qq{
		INSERT INTO scoreboard.player (user_id, hidden) SELECT 'p%s' || n, n % 10 = 0 FROM generate_series($from, $to) n;
		INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, subscore, listed)
			SELECT b.board_id, 1, p.player_id, n * 7919 % 50, timestamptz '2026-01-01' + n % 11 * interval '1 us', nullif(n % 4, 0), n % 10 <> 0
			FROM scoreboard.board b, generate_series($from, $to) n JOIN scoreboard.player p ON p.user_id = 'p%s' || n WHERE b.name = '$name'});
	wait_until($node{$name}, $db, "rank_state = 'ready' FROM scoreboard_stats() WHERE board = '$name'", "the ranks of $name are built");
	return;
}

sub listed
{
	my ($name) = @_;

	return map { [ split /\|/ ] } split /\n/, $node{$name}->safe_psql($db, qq{
		SELECT p.user_id, s.score, (extract(epoch FROM s.reached_at) * 1000000)::bigint, coalesce(s.subscore, -1)
		FROM scoreboard.score s JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id) WHERE b.name = '$name' AND s.listed});
}

# user id, score and rank, as a sort over both tables has them
sub counted
{
	my ($before) = @_;
	my @all = sort { $before->($a, $b) } map { listed($_) } qw(europe asia);
	my @lines;
	my $rank = 0;

	foreach my $i (0 .. $#all)
	{
		$rank = $i + 1 if $i == 0 || $before->($all[ $i - 1 ], $all[$i]) < 0;
		push @lines, "$all[$i][0]|$all[$i][1]|$rank";
	}
	return join "\n", sort @lines;
}

sub asked
{
	my $players = join ',', map { "'$_->[0]'" } map { listed($_) } qw(europe asia);

	return join "\n", sort split /\n/, $node{hub}->safe_psql($db, "SELECT p, r.score, r.rank FROM unnest(ARRAY[$players]) p, global_rank(p) r");
}

# A format in a player's id is none.
fill('europe', 1, 100);
fill('asia', 101, 230);
is(asked(), counted(sub { $_[1][1] <=> $_[0][1] || $_[0][2] <=> $_[1][2] }), 'each player has its rank over both servers');
is($node{hub}->safe_psql($db, q{SELECT global_rank('p%s10'), global_rank('nobody'), global_rank('%1$L'), global_rank('''; SELECT 1')}), '(,)|(,)|(,)|(,)', 'who is hidden or unknown has none');
foreach my $name (qw(europe asia))
{
	$node{$name}->safe_psql($db, "UPDATE scoreboard.board SET ties = 'shared' WHERE name = '$name'");
	wait_until($node{$name}, $db, "rank_state = 'ready' FROM scoreboard_stats() WHERE board = '$name'", "the ranks of $name are built");
}
is(asked(), counted(sub { $_[1][1] <=> $_[0][1] }), 'where equal scores share a rank, they do so over servers');
foreach my $name (qw(europe asia))
{
	$node{$name}->safe_psql($db, "UPDATE scoreboard.board SET ties = 'subscore high' WHERE name = '$name'");
	wait_until($node{$name}, $db, "rank_state = 'ready' FROM scoreboard_stats() WHERE board = '$name'", "the ranks of $name are built");
}
my ($by_subscore) = $section =~ /first question is `(.*?)`/s or die 'README.md has no such question';
$by_subscore =~ s/\s+/ /g;
$by_subscore =~ s/'/''/g;
my ($function) = $ask =~ /^(CREATE FUNCTION global_rank.*)\z/ms;
ok($function =~ s/ask_shards\('SELECT max.*?', player\)/ask_shards('$by_subscore', player)/s, 'the other first question');
$node{hub}->safe_psql($db, $function =~ s/CREATE/CREATE OR REPLACE/r);
is(asked(), counted(sub { $_[1][1] <=> $_[0][1] || $_[1][3] <=> $_[0][3] }), 'where a subscore decides, it decides over servers');

# A server that is away, a session that had asked it before, and one that was cancelled in the midst of it
my $session = $node{hub}->background_psql($db, on_error_stop => 0);
my $rank = 'SELECT rank FROM global_rank(' . "'p%s1')";
my $first = $session->query($rank);
like($first, qr/^\d+$/, 'an answer');
$node{asia}->restart;
wait_until($node{asia}, $db, "rank_state = 'ready' FROM scoreboard_stats() WHERE board = 'asia'", 'the ranks of asia are built');
is($session->query($rank), '', 'the first question after a restart fails');
like($session->{stderr}, qr/ERROR: /, 'and says so');
$session->{stderr} = '';
is($session->query($rank), $first, 'the next connects anew');
my $holder = $node{asia}->background_psql($db);
$holder->query_safe('BEGIN; LOCK TABLE scoreboard.player IN ACCESS EXCLUSIVE MODE');
is($session->query("SET statement_timeout = '300ms'; $rank"), '', 'a question that is cancelled');
like($session->{stderr}, qr/canceling statement due to statement timeout/, 'by its own time limit');
$session->{stderr} = '';
$holder->query_safe('COMMIT');
$holder->quit;
is($session->query("RESET statement_timeout; SELECT rank FROM global_rank('p%s101')"),
	$node{hub}->safe_psql($db, q{SELECT rank FROM global_rank('p%s101')}), "leaves no answer behind for the next question");
$node{asia}->stop;
my ($status, undef, $errors) = $node{hub}->psql($db, $rank);
isnt($status, 0, 'without one of the servers there is no rank');
like($errors, qr/could not establish connection/, 'but a reason');
$session->quit;
$_->stop('immediate') foreach @node{qw(hub europe)};
done_testing();
