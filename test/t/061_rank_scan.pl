# Ranks counted by SQL: a standby has no rank index, so every read there is a scan. The answers are the
# primary's; a scan ends by itself, few run at once, and none leaves anything behind. Needs two servers and
# a lock that holds a scan up.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $primary = new_node('primary', streaming => 1);
my $db = 'game';
create_database($primary, $db);
$primary->safe_psql($db, q{
	INSERT INTO scoreboard.board (name, score_order, ties)
		VALUES ('low', 'low', 'first'), ('shared', 'high', 'shared'), ('sub', 'high', 'subscore high'), ('sublow', 'low', 'subscore low');
	INSERT INTO scoreboard.player (player_id, user_id) SELECT i, 'p' || i FROM generate_series(1, 200) i;
	-- Many ties, some of them at the same moment; every tenth player is hidden.
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at, listed, subscore, detail)
		SELECT b.board_id, 1, i, i * 7919 % 23 - 5, timestamptz '2026-01-01' + i * 31 % 17 * interval '1 microsecond', i % 10 <> 0,
			CASE WHEN i % 4 > 0 THEN i % 3 END, 'detail ' || i
		FROM scoreboard.board b, generate_series(1, 200) i});

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\n");
$standby->start;
$primary->wait_for_catchup($standby);

# The same question to both; what a window function says is the judge.
foreach my $board ([ 'global', 'DESC', 'row_number() OVER w' ], [ 'low', 'ASC', 'row_number() OVER w' ],
	[ 'shared', 'DESC', 'rank() OVER (ORDER BY score DESC)' ])
{
	my ($name, $direction, $rank) = @$board;
	my $truth = $primary->safe_psql($db, qq{
		SELECT $rank, 'p' || player_id, score FROM scoreboard.score JOIN scoreboard.board b USING (board_id)
		WHERE b.name = '$name' AND listed WINDOW w AS (ORDER BY score $direction, reached_at, player_id)
		ORDER BY score $direction, reached_at, player_id});
	my @truth = split /\n/, $truth;

	foreach my $node ($primary, $standby)
	{
		my $where = "$name on the " . $node->name;
		is($node->safe_psql($db, "SELECT rank, user_id, score FROM scoreboard_top('$name', 1000)"), $truth, "the whole list of $where");
		is($node->safe_psql($db, "SELECT rank, user_id, score FROM scoreboard_top('$name', 20, 95)"),
			join("\n", @truth[ 95 .. 114 ]), "a part of it of $where");
		is($node->safe_psql($db, qq{
			SELECT r ->> 'rank', r ->> 'userId', r ->> 'score' FROM generate_series(1, 200) i, scoreboard_rank('p' || i, '$name') r
			WHERE i % 10 <> 0 ORDER BY (r ->> 'rank')::int, i}),
			join("\n", sort { ($a =~ /^(\d+)/)[0] <=> ($b =~ /^(\d+)/)[0] || ($a =~ /p(\d+)/)[0] <=> ($b =~ /p(\d+)/)[0] } @truth),
			"each player's rank of $where");
		is($node->safe_psql($db, "SELECT rank, user_id, score FROM scoreboard_ranks((SELECT array_agg('p' || i) FROM generate_series(1, 200) i), '$name')"),
			$truth, "all of them as friends of $where");
		is($node->safe_psql($db, "SELECT rank, user_id, score FROM scoreboard_around('" . (split /\|/, $truth[50])[1] . "', '$name', 7)"),
			join("\n", @truth[ 43 .. 57 ]), "neighbours of $where");
		is($node->safe_psql($db, "SELECT r ->> 'players', r ->> 'percentile' FROM scoreboard_rank('" . (split /\|/, $truth[-1])[1] . "', '$name') r"),
			'180|0', "the last player of $where");
	}
	# One document: the last, one in the middle, one who is hidden, with friends of each kind.
	foreach my $own (map { (split /\|/, $truth[$_])[1] } 0, 3, 100, 179)
	{
		my @views = map { $_->safe_psql($db, "SELECT scoreboard_view('$name', 20, 4, '{p7,p10,$own,p9,none,p7}', '$own')::jsonb - 'asOf'") } $primary, $standby;

		like($views[0], qr/"own": \{"rank": \d+/, "a view of $own on $name is one");
		is($views[1], $views[0], "the standby's is the same");
	}
	is($standby->safe_psql($db, "SELECT scoreboard_view('$name', user_id => 'p10') ->> 'own'"), '', "who is hidden has no row on $name");
}

# A whole list by pages, and how its scores are spread.
foreach my $name (qw(global low shared sub sublow))
{
	my $spread = "SELECT b, scoreboard_distribution('$name', b)::jsonb - 'asOf' FROM unnest('{1,3,20,100}'::int[]) b";

	is($standby->safe_psql($db, $spread), $primary->safe_psql($db, $spread), "the distribution of $name");
	my $ahead = "SELECT s, k, scoreboard_ahead('$name', s, k) FROM generate_series(-8, 20, 4) s, unnest(array_append('{-1,0,1,2}'::bigint[] || array(
		SELECT (extract(epoch FROM timestamptz '2026-01-01') * 1000000)::bigint + i FROM generate_series(0, 16, 8) i), NULL)) k";
	my $counted = $primary->safe_psql($db, $ahead);
	is($standby->safe_psql($db, $ahead), $counted, "how many stand ahead of some keys of $name");
	cmp_ok(scalar(keys %{{ map { (split /\|/)[2] => 1 } split /\n/, $counted }}), '>', 4, 'many numbers');
	foreach my $entries (1, 7, 180, 1000)
	{
		my $export = qq{
			WITH RECURSIVE page AS (
				SELECT 1 AS n, array(SELECT e FROM scoreboard_export('$name', NULL, $entries) e) AS rows
				UNION ALL
				SELECT n + 1, array(SELECT e FROM scoreboard_export('$name', rows[cardinality(rows)].cursor, $entries) e) FROM page WHERE rows <> '{}')
			SELECT r.* FROM page, unnest(rows) WITH ORDINALITY AS r ORDER BY n, ordinality};
		my @pages = map { $_->safe_psql($db, $export) } $primary, $standby;

		is($pages[1], $pages[0], "$name by pages of $entries");
		is(scalar(my @rows = split(/\n/, $pages[0])), 180, 'all of it');
	}
}

is($standby->safe_psql($db, 'SELECT * FROM scoreboard_boards()'), $primary->safe_psql($db, 'SELECT * FROM scoreboard_boards()'), 'the same boards');
is($standby->safe_psql($db, q{SELECT count(*) FROM scoreboard_history_for('p7', 'low')}), 0, 'and histories');

# A scan that can't get on: the primary's lock, replayed.
my $holder = $primary->background_psql($db);
$holder->query_safe('BEGIN');
$holder->query_safe('LOCK TABLE scoreboard.score IN ACCESS EXCLUSIVE MODE');
$primary->safe_psql($db, 'SELECT pg_catalog.pg_switch_wal()');
wait_until($standby, $db, q{EXISTS (SELECT FROM pg_catalog.pg_locks WHERE relation = 'scoreboard.score'::regclass AND mode = 'AccessExclusiveLock' AND granted)},
	'the standby holds the lock too');

my ($status, $output, $error) = $standby->psql($db, 'SELECT * FROM scoreboard_top()');
like($error, qr/counting the ranks took too long\nDETAIL:  \{"code":"UNAVAILABLE","retryAfter":1\}/, 'a scan ends by itself');
(undef, $output, $error) = $standby->psql($db, q{SELECT * FROM scoreboard_top(); SELECT 'usable'}, on_error_stop => 0);
is($output, 'usable', 'and its session goes on');
(undef, undef, $error) = $standby->psql($db, q{SET statement_timeout = '50ms'; SELECT * FROM scoreboard_top()});
like($error, qr/canceling statement due to statement timeout/, "the caller's own limits stay what they are");
(undef, undef, $error) = $standby->psql($db, 'SET scoreboard.max_scans = 0; SELECT * FROM scoreboard_top()');
like($error, qr/too many ranks are being counted at once\nDETAIL:  \{"code":"UNAVAILABLE","retryAfter":1\}/, 'none at all where none is allowed');

# One scan at once, and one is running: again and again, since it ends by itself.
my $busy = $standby->background_psql($db, on_error_stop => 0);
my $refused = 0;
for (my $i = 0; $i < 20 && !$refused; $i++)
{
	$busy->query_until(qr/^/, "SELECT * FROM scoreboard_top();\n");
	wait_until($standby, $db, q{EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory')}, 'a scan holds its ticket');
	(undef, undef, $error) = $standby->psql($db, 'SET scoreboard.max_scans = 1; SELECT * FROM scoreboard_top()');
	$refused = $error =~ /too many ranks are being counted at once/;
}
ok($refused, 'no more scans than the setting allows');

$holder->query_safe('ROLLBACK');
$holder->quit;
wait_until($standby, $db, q{NOT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory')}, 'no ticket is kept');
is($standby->safe_psql($db, 'SET scoreboard.max_scans = 1; SELECT count(*) FROM scoreboard_top()'), 10, 'afterwards all is well');
$busy->quit;

$standby->stop;
$primary->stop;
done_testing();
