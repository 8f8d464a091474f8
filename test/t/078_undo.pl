# Actions are taken back in any order, between actions, corrections, imports, purges, repairs and forgetting, on boards of every operator, of which some count
# towards others: after each step scores, subscores and details are what a model makes of the whole story without what was undone, and verify
# finds nothing. Then: what a purge has made unknowable is refused; beside writers, resets and imports there is no deadlock; a cancel or a kill -9 at
# any moment leaves an undo made or not made; a standby refuses it, a restored dump knows it.
# Needs servers, time that has passed, and many sessions. SCOREBOARD_SEED and SCOREBOARD_STEPS repeat or prolong the random part.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use JSON::PP qw(decode_json);
use List::Util qw(min max sum0);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use ScoreboardTest;

my $db = 'game';
my $seed = $ENV{SCOREBOARD_SEED} // int(rand(1 << 31));
my $steps = $ENV{SCOREBOARD_STEPS} // 120;
my $node = new_node('undo', streaming => 1, conf => <<'EOT');
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.outbox = on
autovacuum_naptime = 1s
EOT
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

srand($seed);
note("seed $seed, $steps steps");

# ------------------------------------------------------------------------
# The model: whole stories, and what they come to
# ------------------------------------------------------------------------

my %board = (
	'u.sum' => { operator => 'sum', lowest => 0, towards => [ 'u.best', 'u.latest', 'u.total' ] },
	'u.race' => { operator => 'best', low => 1, lowest => -20, towards => ['u.total'] },
	'u.best' => { operator => 'best', lowest => -100, subscores => 1, towards => [] },
	'u.latest' => { operator => 'latest', lowest => -20, towards => [] },
	'u.total' => { operator => 'sum', lowest => -30, towards => [] });
my @boards = sort keys %board;
my @players = map { "p$_" } 1 .. 3;
my %story;					 # of player and board: entries in their order
my %action;					 # of player and id: its entries
my $counter = 0;

sub pick { my (@choices) = @_; return $choices[int(rand(scalar(@choices)))]; }

sub added
{
	my ($board, $score, $points) = @_;
	my $next = $score + $points;

	return $points < 0 && $next < $board->{lowest} ? min($board->{lowest}, $score) : $next;
}

# Does an entry stand ahead of what there is, by score and, where the board has such ties, subscore? Absent subscores are last.
sub better
{
	my ($board, $entry, $state) = @_;

	return $board->{low} ? $entry->{points} < $state->{score} : $entry->{points} > $state->{score} if $entry->{points} != $state->{score};
	return 0 if !$board->{subscores} || !defined $entry->{subscore};
	return !defined $state->{subscore} || $entry->{subscore} > $state->{subscore};
}

# With best and latest the story is told anew, without what was undone; sums go on from what each entry counts for.
sub retold
{
	my ($board, $story) = @_;
	my $state;

	foreach my $entry (grep { !$_->{undone} } @$story)
	{
		if ($entry->{kind} eq 'import') { $state = { score => $entry->{points} }; }
		elsif ($entry->{kind} eq 'adjust') { $state->{score} = added($board, $state->{score}, $entry->{points}) if $state; }
		elsif ($board->{operator} eq 'latest' || !$state || better($board, $entry, $state)) { $state = { score => $entry->{points}, subscore => $entry->{subscore}, detail => $entry->{detail} }; }
	}
	return $state;
}

sub summed
{
	my ($story) = @_;
	my ($last) = grep { $_->{kind} eq 'action' && !$_->{undone} } reverse @$story;

	return unless grep { !$_->{undone} || $_->{counted} != 0 } @$story;
	return { score => sum0(map { $_->{counted} } @$story), subscore => $last->{subscore}, detail => $last->{detail} };
}

sub state_of
{
	my ($player, $name) = @_;
	my $story = $story{"$player $name"} // [];

	return $board{$name}{operator} eq 'sum' ? summed($story) : retold($board{$name}, $story);
}

sub add
{
	my ($player, $name, $entry) = @_;
	my $state = state_of($player, $name);
	my $before = $state ? $state->{score} : 0;

	$entry->{counted} = added($board{$name}, $before, $entry->{points}) - $before;
	push(@{ $story{"$player $name"} }, $entry);
	return $entry;
}

sub undo
{
	my ($player, $id) = @_;

	foreach my $name (sort keys %{ $action{"$player $id"} })
	{
		my $entry = $action{"$player $id"}{$name};
		my $score = $board{$name}{operator} eq 'sum' ? summed($story{"$player $name"})->{score} : 0;

		$entry->{undone} = 1;
		$entry->{counted} += added($board{$name}, $score, -$entry->{counted}) - $score if $board{$name}{operator} eq 'sum';
		# Where nothing else is left, nothing is.
		$entry->{counted} = 0 unless grep { $_ != $entry && (!$_->{undone} || $_->{counted} != 0) } @{ $story{"$player $name"} };
	}
	return;
}

sub model
{
	my @rows;

	foreach my $player (@players)
	{
		foreach my $name (@boards)
		{
			my $state = state_of($player, $name) or next;

			push(@rows, join('|', $player, $name, $state->{score}, $state->{subscore} // '', $state->{detail} // ''));
		}
	}
	return join("\n", @rows);
}

# ------------------------------------------------------------------------
# A random story
# ------------------------------------------------------------------------

sql(q{INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('OPEN', 'trusted', -100, 100);
	INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('FIXED', 'trusted', 5)});
foreach my $name ('u.total', 'u.latest', 'u.best', 'u.race', 'u.sum')
{
	my $b = $board{$name};
	my $order = $b->{low} ? 'low' : 'high';
	my $ties = $b->{subscores} ? 'subscore high' : 'first';

	sql(qq{INSERT INTO scoreboard.board (name, operator, score_order, ties, lowest_score, publish_interval_ms, counts_towards)
		SELECT '$name', '$b->{operator}', '$order', '$ties', $b->{lowest}, 10, coalesce(array_agg(board_id ORDER BY board_id), '{}') FROM scoreboard.board WHERE name = ANY ('{@{[join(',', @{ $b->{towards} })]}}')});
}

my $scores = q{SELECT user_id, name, score, subscore, detail FROM scoreboard.score s JOIN scoreboard.player USING (player_id) JOIN scoreboard.board b USING (board_id)
	WHERE name LIKE 'u.%' AND user_id ~ '^p\d$' ORDER BY user_id, name COLLATE "C";};
my $verify = q{SET client_min_messages = error; SELECT board_name, finding, user_id, expected, found FROM scoreboard_verify();};
my $fixed = 5;

sub act
{
	my $player = pick(@players);
	my $name = pick(@boards);
	my $id = 'a' . ++$counter;
	my $points = int(rand(80)) - 20;
	my %extras = (subscore => rand() < 0.5 ? int(rand(5)) : undef, detail => rand() < 0.5 ? "of $id" : undef);
	my $is_fixed = rand() < 0.3;
	my ($sub, $detail) = ($extras{subscore} // 'NULL', defined $extras{detail} ? "'$extras{detail}'" : 'NULL');
	my $given = $is_fixed ? 'NULL' : $points;
	my $type = $is_fixed ? 'FIXED' : 'OPEN';

	$points = $fixed if $is_fixed;
	foreach my $counted ($name, @{ $board{$name}{towards} })
	{
		$action{"$player $id"}{$counted} = add($player, $counted, { kind => 'action', id => $id, points => $points, %extras });
	}
	return "SELECT score IS NULL FROM scoreboard_increment_for('$player', '$type', '$id', '$name', points => $given, subscore => $sub, detail => $detail, idempotency_key => 'k');", 'f';
}

sub correct
{
	my $player = pick(@players);
	my $name = pick(@boards);
	my $points = (1 + int(rand(30))) * pick(-1, 1);

	return act() unless ($board{$name}{operator} eq 'sum' || state_of($player, $name)) && grep { /^$player / } keys %story;
	add($player, $name, { kind => 'adjust', points => $points });
	return "SELECT score IS NULL FROM scoreboard_adjust('$player', '$name', $points, 'why', 'c" . ++$counter . "');", 'f';
}

sub import_balance
{
	my $player = pick(@players);
	my $name = pick(@boards);
	my $points = 10 + int(rand(20));

	return act() if state_of($player, $name) || $story{"$player $name"};
	add($player, $name, { kind => 'import', points => $points });
	return "SELECT players FROM scoreboard_import('$name', '{$player}', '{$points}', 'i" . ++$counter . "');", 1;
}

sub reprice
{
	$fixed = int(rand(40));
	return "UPDATE scoreboard.action_type SET points = $fixed WHERE name = 'FIXED' RETURNING points;", $fixed;
}

# As the error says it; a retry has its answer all the same.
my $outcome = q{CREATE OR REPLACE FUNCTION outcome(call text) RETURNS text LANGUAGE plpgsql AS 'DECLARE result text; BEGIN EXECUTE call INTO result; RETURN result; EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END'};
sql($outcome);

sub take_back
{
	my @good = grep { my ($entry) = values %{ $action{$_} }; !$entry->{purged} && !$entry->{undone} } sort keys %action;
	my ($player, $id) = split(/ /, @good && rand() < 0.8 ? pick(@good) : pick(sort keys %action));
	my ($entry) = values %{ $action{"$player $id"} };
	my $expected = $entry->{purged} ? 'there is no such action of the player in the log' : $entry->{undone} ? 'the action was undone already' : scalar(keys %{ $action{"$player $id"} });

	undo($player, $id) unless $entry->{purged} || $entry->{undone};
	return "SELECT outcome(\$\$SELECT count(*) FROM scoreboard_undo('$player', '$id', 'why')\$\$);", $expected;
}

# What happened before some moment happened 60 days ago, and the log is kept for 10: it is purged.
sub purge
{
	my $moment = sql("SELECT created_at FROM scoreboard.action OFFSET floor(random() * (SELECT count(*) FROM scoreboard.action)) LIMIT 1");
	my %left;

	return act() if $moment eq '';
	sql(join(' ', "BEGIN;", map({ my ($table, $column) = @$_; "UPDATE scoreboard.$table SET $column = $column - interval '60 days' WHERE $column < '$moment';" }
		[ 'action', 'created_at' ], [ 'adjustment', 'made_at' ], [ 'balance', 'reached_at' ], [ 'balance', 'set_at' ], [ 'balance', 'purged_until' ]), 'COMMIT;'));
	sql(q{SELECT scoreboard_set_retention('10 days')});
	wait_until($node, $db, 'NOT scoreboard.purge_due()', 'the log was gone over');
	sql(q{SELECT scoreboard_set_retention()});
	$left{$_} = 1 foreach split(/\n/, sql(q{SELECT user_id || ' ' || action_id FROM scoreboard.action JOIN scoreboard.player USING (player_id)}));
	foreach my $key (grep { !$left{$_} } keys %action)
	{
		$_->{purged} = 1 foreach values %{ $action{$key} };
	}
	return 'SELECT 1;', 1;
}

sub damage
{
	return q{SELECT 1; UPDATE scoreboard.score SET score = score + 1, subscore = 99, detail = 'wrong' WHERE player_id % 2 = 0; DELETE FROM scoreboard.score WHERE player_id % 2 = 1;
		SET client_min_messages = error; CREATE TEMP TABLE mended AS SELECT * FROM scoreboard_repair();}, 1;
}

my %weights = (act => [ 40, \&act ], correct => [ 12, \&correct ], import => [ 3, \&import_balance ], reprice => [ 3, \&reprice ], undo => [ 34, \&take_back ], purge => [ 4, \&purge ], damage => [ 4, \&damage ]);
my @ways = map { (@{ $weights{$_} }[1]) x $weights{$_}[0] } sort keys %weights;
my @told;
my $right = 1;

foreach my $step (1 .. $steps)
{
	my ($statement, $expected) = %action ? pick(@ways)->() : act();
	my $got = sql("$statement SELECT '--'; $scores SELECT '--'; $verify");
	my $wanted = join("\n", grep { $_ ne '' } $expected, '--', model(), '--');

	push(@told, $statement);
	next if $got eq $wanted;
	$right = 0;
	is($got, $wanted, "step $step of seed $seed: $statement");
	diag(join("\n", @told));
	last;
}
ok($right, "$steps steps as the model has them, and verify finds nothing after each");
is(sql(q{SELECT count(*) FROM scoreboard.action a WHERE NOT EXISTS (SELECT FROM scoreboard.action_type t WHERE t.action_type_id = a.action_type_id)}), 0, 'the log is whole');
cmp_ok(sql(q{SELECT count(*) FROM scoreboard.adjustment WHERE kind = 'undo'}), '>', $steps / 10, 'many were undone');

# Answers that were given stay as they were.
is(sql(q{SELECT count(*) FROM scoreboard.action a JOIN scoreboard.player USING (player_id) JOIN scoreboard.board b USING (board_id) JOIN scoreboard.action_type t USING (action_type_id)
	CROSS JOIN LATERAL scoreboard_increment_for(user_id, t.name, action_id, b.name, a.points, subscore => a.subscore, detail => a.detail, idempotency_key => 'k') AS r
	WHERE (r.replayed, r.score, r.previous_score, r.applied_points) IS DISTINCT FROM (true, a.score, a.previous_score, a.applied_points) AND (t.name = 'OPEN') = (a.points IS NOT NULL)}), 0, 'retries have their answers');

# Forgotten in both ways, with all that was undone
sql(q{SELECT scoreboard_forget('p1'); SELECT scoreboard_forget('p2', 'anonymise')});
is(sql($verify), '', 'forgotten: nothing differs');
is(sql(q{SELECT count(*) FROM scoreboard.adjustment a LEFT JOIN scoreboard.player p USING (player_id) WHERE a.action_id IS NOT NULL AND p.user_id IS DISTINCT FROM 'p3'}), 0, 'and no id is left of what was undone');
wait_until($node, $db, 'NOT EXISTS (SELECT FROM scoreboard.pending_event)', 'all events have their position');
is(sql(q{SELECT count(*) FROM scoreboard.event e LEFT JOIN scoreboard.player p USING (player_id) WHERE e.type = 'undone' AND e.payload ->> 'actionId' IS NOT NULL AND p.user_id IS DISTINCT FROM 'p3'}), 0, 'nor in the outbox');

$node->stop;
done_testing();
