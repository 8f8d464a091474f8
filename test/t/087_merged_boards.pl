# Boards over several servers as one list: each of two publishes its own top rows by logical replication, a third merges them with a board of its
# own. The README's commands are run as they stand, with this test's addresses; the merged list and everybody's rank over all servers are held
# against a sort of all scores. SERVERS_PLAYERS=1000000 (test/torture/servers.sh) has so many players beforehand, and ranks of some of them.
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
my ($publish) = grep { /CREATE PUBLICATION/ } @blocks or die 'README.md publishes nothing';
my ($subscribe, $again) = grep { /CREATE SUBSCRIPTION/ } @blocks or die 'README.md subscribes to nothing';
my ($ask) = grep { /CREATE EXTENSION dblink/ } @blocks or die 'README.md asks nobody';
my ($allow) = grep { /CREATE ROLE ranks/ } @blocks or die 'README.md lets nobody ask';
my $players = $ENV{SERVERS_PLAYERS} // 600;
my $db = 'game';
my %node = map { $_ => new_node($_, streaming => 'logical', conf => "max_logical_replication_workers = 8\nwal_retrieve_retry_interval = 100ms\n") } qw(hub europe asia);

foreach my $name (qw(europe asia))
{
	create_database($node{$name}, $db);
	(my $own = $publish) =~ s/europe/$name/g;
	$node{$name}->safe_psql($db, $own);
	$node{$name}->safe_psql($db, $allow);
	my $address = 'host=' . $node{$name}->host . ' port=' . $node{$name}->port;
	ok($subscribe =~ s/host=$name\.internal port=5432/$address/, "the address of $name stands there");
}
create_database($node{hub}, $db);
$node{hub}->safe_psql($db, $allow);

# A player and its score on a server.
sub score
{
	my ($name, $user_id, $score, $reached) = @_;
	$reached //= 'clock_timestamp()';

	$node{$name}->safe_psql($db, qq{
		INSERT INTO scoreboard.player (user_id, display_name) VALUES ('$user_id', 'Name of $user_id') ON CONFLICT DO NOTHING;
		INSERT INTO scoreboard.score AS s (board_id, season, player_id, score, reached_at, detail)
			SELECT b.board_id, 1, p.player_id, $score, $reached, 'detail of $user_id' FROM scoreboard.board b, scoreboard.player p
			WHERE b.name = '} . ($name eq 'hub' ? 'america' : $name) . qq{' AND p.user_id = '$user_id'
			ON CONFLICT (board_id, season, player_id) DO UPDATE SET score = excluded.score, reached_at = excluded.reached_at});
	return;
}

my $list = q{SELECT coalesce((SELECT string_agg(concat_ws(' ', e ->> 'rank', e ->> 'userId', e ->> 'score'), ', ' ORDER BY n)
	FROM json_array_elements(t.document::json -> 'entries') WITH ORDINALITY AS x (e, n)), '') FROM scoreboard.top t WHERE t.board = };

sub wait_for_entries
{
	my ($board, $entries, $what) = @_;

	$node{hub}->poll_query_until($db, "$list '$board'", $entries) or diag($node{hub}->safe_psql($db, "$list '$board'"));
	is($node{hub}->safe_psql($db, "$list '$board'"), $entries, $what);
	return;
}

score('europe', 'e1', 50, q{'2026-01-01 00:00:02'});
score('europe', 'e2', 30);
score('asia', 'a1', 50, q{'2026-01-01 00:00:01'});
score('asia', 'a2', 40);
wait_for_list($node{$_}, $db, $_, $_ eq 'europe' ? '50 30' : '50 40') foreach qw(europe asia);

# The initial copy
$node{hub}->safe_psql($db, $subscribe);
score('hub', 'h1', 45);
wait_for_entries('world', '1 a1 50, 2 e1 50, 3 h1 45, 4 a2 40, 5 e2 30', 'one list of all, ties as their moments say');
wait_for_entries('europe', '1 e1 50, 2 e2 30', 'the remote list as it is there');
my $remote = $node{europe}->safe_psql($db, q{SELECT document FROM scoreboard.top WHERE board = 'europe'});
is($node{hub}->safe_psql($db, q{SELECT scoreboard_leaderboard('europe')}), $remote, 'word for word');
is($node{hub}->safe_psql($db, q{SELECT players FROM scoreboard_boards() WHERE board = 'world'}), 5, 'the sum of players');
is($node{hub}->safe_psql($db, q{SELECT count(*) FROM scoreboard.top WHERE document LIKE '%2026-01-01%'}), 0, 'no document shows the moments that it is ordered by');

# Pushed to who listens, as any list
my $listener = $node{hub}->background_psql($db);
$listener->query_safe('LISTEN scoreboard');
score('asia', 'a3', 90);
wait_for_entries('world', '1 a3 90, 2 a1 50, 3 e1 50, 4 h1 45, 5 a2 40, 6 e2 30', 'a new score on a server');
my $told = $listener->query('SELECT 1');
foreach my $board (qw(asia world))
{
	my $version = version($node{hub}, $db, $board);

	like($told, qr/"scoreboard" with payload "\{"board":"$board","version":$version\}"/, "the new list of $board is notified");
}
$listener->quit;

# A ban, a restart, whose versions leap, and a server that is away
$node{europe}->safe_psql($db, q{SELECT scoreboard_ban('e1')});
wait_for_entries('world', '1 a3 90, 2 a1 50, 3 h1 45, 4 a2 40, 5 e2 30', 'who is banned leaves the list');
my $before = version($node{hub}, $db, 'europe');
$node{europe}->stop('immediate');
$node{hub}->restart;
wait_for_entries('world', '1 a3 90, 2 a1 50, 3 h1 45, 4 a2 40, 5 e2 30', 'the list of a server that is away stays');
$node{europe}->start;
score('europe', 'e3', 60);
wait_for_entries('world', '1 a3 90, 2 e3 60, 3 a1 50, 4 h1 45, 5 a2 40, 6 e2 30', 'a server that has come back');
cmp_ok(version($node{hub}, $db, 'europe'), '>', $before, 'with a greater version');

# A list by the name of a board of our own is turned away.
my $offset = -s $node{hub}->logfile;
$node{asia}->safe_psql($db, q{INSERT INTO scoreboard.board (name) VALUES ('america'); ALTER PUBLICATION lists SET TABLE scoreboard.top WHERE (board IN ('asia', 'america'))});
$node{asia}->safe_psql($db, q{UPDATE scoreboard.board SET title = 'America' WHERE name = 'america'});
score('asia', 'x1', 99);
$node{asia}->safe_psql($db, q{INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
	SELECT board_id, 1, player_id, 1000, now() FROM scoreboard.board, scoreboard.player WHERE name = 'america' AND user_id = 'x1'});
$node{hub}->wait_for_log(qr/a subscription brings a list of scoreboard "america", which is not remote/, $offset);
wait_for_entries('america', '1 h1 45', 'the list of a board of our own stays');
wait_for_entries('world', '1 x1 99, 2 a3 90, 3 e3 60, 4 a1 50, 5 h1 45, 6 a2 40, 7 e2 30', 'and the rest goes on');
$node{asia}->safe_psql($db, q{ALTER PUBLICATION lists SET TABLE scoreboard.top WHERE (board = 'asia')});

# Another order there than here is said, and the list stays until both agree.
$offset = -s $node{hub}->logfile;
$node{asia}->safe_psql($db, q{UPDATE scoreboard.board SET ties = 'shared' WHERE name = 'asia'});
score('asia', 'a2', 41);
$node{hub}->wait_for_log(qr/scoreboard "asia" can't be merged into "world": it was published in the order "high shared", not "high first"/, $offset);
$node{asia}->safe_psql($db, q{UPDATE scoreboard.board SET ties = 'first' WHERE name = 'asia'});
score('asia', 'a2', 42);
wait_for_entries('world', '1 x1 99, 2 a3 90, 3 e3 60, 4 a1 50, 5 h1 45, 6 a2 42, 7 e2 30', 'where orders agree again, so does the list');

# Many players, with many equal scores
foreach my $name (qw(europe asia hub))
{
	my $board = $name eq 'hub' ? 'america' : $name;

	$node{$name}->safe_psql($db, qq{
		INSERT INTO scoreboard.player (user_id) SELECT '$name-many-' || n FROM generate_series(1, $players / 3) n;
		INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
			SELECT b.board_id, 1, p.player_id, hashtextextended(p.user_id, 0) & 4095, timestamptz '2026-01-01' + (hashtextextended(p.user_id, 1) & 1048575) * interval '1 us'
			FROM scoreboard.board b, scoreboard.player p WHERE b.name = '$board' AND p.user_id LIKE '$name-many-%'});
	wait_until($node{$name}, $db, "rank_state = 'ready' FROM scoreboard_stats() WHERE board = '$board'", "the ranks of $board are built");
}

# A server is killed while players act everywhere, and its standby takes its place.
$node{europe}->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node{europe}, 'backup', has_streaming => 1);
$standby->start;
my @busy = map { my $name = $_; start_child(sub {
	foreach my $n (1 .. 150)
	{
		eval { score($name, $name . $n % 40, 4000 + $n * 7919 % 1000) };
		last if $@;
	}
}) } qw(asia hub europe);
wait_until($node{hub}, $db, q{document LIKE '%"userId":"europe%' FROM scoreboard.top WHERE board = 'world'}, 'lists arrive');
$node{europe}->kill9;
$standby->promote;
my $address = 'host=' . $standby->host . ' port=' . $standby->port;
ok($again =~ s/host=europe-b\.internal port=5432/$address/, 'the address of the promoted standby stands there');
$node{hub}->safe_psql($db, $again);
$node{europe} = $standby;
waitpid $_, 0 foreach @busy;
score('europe', 'e9', 5000);

# What all servers have counted, sorted
sub all_scores
{
	my @rows = map { my $name = $_; map { [ split /\|/ ] } split /\n/, $node{$name}->safe_psql($db, q{
		SELECT p.user_id, s.score, (extract(epoch FROM s.reached_at) * 1000000)::bigint FROM scoreboard.score s JOIN scoreboard.player p USING (player_id)
		JOIN scoreboard.board b USING (board_id) WHERE s.listed AND b.name = '} . ($name eq 'hub' ? 'america' : $name) . q{'}) } qw(hub europe asia);

	return sort { $b->[1] <=> $a->[1] || $a->[2] <=> $b->[2] } @rows;
}

my @all = all_scores();
cmp_ok(scalar @all, '>', $players + 60, 'many players');
my $rank = 0;
wait_for_entries('world', join(', ', map { ++$rank . " $_->[0] $_->[1]" } @all[ 0 .. 9 ]), 'in the end the list is what a sort over all servers says');
wait_until($node{hub}, $db, "players = ${\scalar @all} FROM scoreboard.top WHERE board = 'world'", 'all players are counted');
is($node{hub}->safe_psql($db, q{SELECT t.players - sum(s.players) FROM scoreboard.top t, scoreboard.top s WHERE t.board = 'world' AND s.board IN ('europe', 'asia', 'america') GROUP BY t.players}), 0, 'and no more');

# Everybody's rank over all servers, asked at once; of many players, some.
foreach my $name (qw(europe asia))
{
	my $there = "host '" . $node{$name}->host . "', port '" . $node{$name}->port . "'";

	ok($ask =~ s/host '$name\.internal', port '5432'/$there/, "the address of $name stands there");
}
my $here = "host '" . $node{hub}->host . "', port '" . $node{hub}->port . "'";
$node{hub}->safe_psql($db, $ask);
$node{hub}->safe_psql($db, qq{
	INSERT INTO shard VALUES ('america', 'america');
	CREATE SERVER america FOREIGN DATA WRAPPER dblink_fdw OPTIONS ($here, dbname '$db');
	CREATE USER MAPPING FOR CURRENT_USER SERVER america OPTIONS (user 'ranks', password 'change me')});
wait_until($node{europe}, $db, q{rank_state = 'ready' FROM scoreboard_stats() WHERE board = 'europe'}, "the promoted server's ranks are built");
my $step = int(@all / 500) || 1;
my %counted;
foreach my $i (0 .. $#all)
{
	my $same = $i > 0 && $all[$i][1] == $all[ $i - 1 ][1] && $all[$i][2] == $all[ $i - 1 ][2];

	$rank = $same ? $rank : $i + 1;
	$counted{ $all[$i][0] } = $rank if $i % $step == 0 || $i < 100;
}
my $asked = join ',', map { "'$_'" } sort keys %counted;
is($node{hub}->safe_psql($db, "SELECT p, r.rank FROM unnest(ARRAY[$asked]) p, global_rank(p) r"), join("\n", map { "$_|$counted{$_}" } sort keys %counted), 'everybody has its rank over all servers');
note($node{hub}->safe_psql($db, qq{SELECT format('%s players, %s ranks over three servers in %s', ${\scalar @all}, count(r.rank), clock_timestamp() - statement_timestamp()) FROM unnest(ARRAY[$asked]) p, global_rank(p) r}));

# A board that goes on its server
$node{asia}->safe_psql($db, q{DELETE FROM scoreboard.board WHERE name = 'asia'});
wait_until($node{hub}, $db, q{players = 0 FROM scoreboard.top WHERE board = 'asia'}, 'the list of a board that was deleted is empty');
@all = grep { $_->[0] !~ /^(asia|a\d|x\d)/ } @all;
$rank = 0;
wait_for_entries('world', join(', ', map { ++$rank . " $_->[0] $_->[1]" } @all[ 0 .. 9 ]), 'and its players have left the merged one');

# The merging server's dump, restored elsewhere
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node{hub}->command_ok([ 'pg_dump', '--format=custom', "--file=$dump", $db ], 'a dump');
$node{hub}->safe_psql('postgres', 'CREATE DATABASE restored');
$node{hub}->command_ok([ 'pg_restore', '--exit-on-error', '--dbname=restored', $dump ], 'is restored');
is($node{hub}->safe_psql('restored', q{SELECT string_agg(concat_ws(' ', name, remote, merges <> '{}'), ', ' ORDER BY name) FROM scoreboard.board}),
	'america f f, asia t f, europe t f, global f f, world f t', 'with its settings');
is($node{hub}->safe_psql('restored', q{SELECT string_agg(concat_ws(' ', subname, subenabled), ', ' ORDER BY subname) FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = 'restored'}), 'asia f, europe f',
	'its subscriptions are switched off');
$node{hub}->safe_psql('restored', "ALTER SUBSCRIPTION $_ SET (slot_name = NONE); DROP SUBSCRIPTION $_") foreach qw(asia europe);
$node{hub}->safe_psql('restored', q{CREATE SUBSCRIPTION europe CONNECTION '} . "$address dbname=game user=lists" . q{' PUBLICATION lists WITH (slot_name = 'lists_again')});
wait_until($node{hub}, 'restored', q{(SELECT document FROM scoreboard.top WHERE board = 'europe') IS NOT NULL AND players > 0 FROM scoreboard.top WHERE board = 'world'}, 'the restored server merges again');
$node{hub}->safe_psql('restored', 'DROP SUBSCRIPTION europe');

$_->stop('immediate') foreach $standby, @node{qw(hub asia)};
done_testing();
