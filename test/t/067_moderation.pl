# Nobody evades moderation: who keeps a transaction open after an action is waited for as long as scoreboard.moderation_wait says, and
# then his session is ended, with those that he queued up. Moderators wait for each other, the clean ways out of a wait stay, and
# ways of changing the same player don't deadlock. Needs many sessions, and a look into the server's log.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

# statement_timeout is the net under what waits: no answer depends on it.
my $patience = $PostgreSQL::Test::Utils::timeout_default;
my $node = new_node('moderation', conf => <<"EOT");
scoreboard.rate_limit = 0
scoreboard.burst_limit = 0
scoreboard.moderation_wait = 300ms
statement_timeout = '${patience}s'
max_connections = 40
EOT
create_database($node, 'game');
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
sub sql { return $node->safe_psql('game', $_[0]); }

sub session
{
	my ($statements) = @_;
	my $session = $node->background_psql('game', on_error_stop => 0);

	$session->query($statements);
	return $session;
}

# Is it there, in its transaction?
sub pid { return (split /\n/, $_[0]->query_safe('SELECT pg_backend_pid()'))[-1]; }
sub lives { return sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $_[0]"); }

sub log_of
{
	my ($from) = @_;

	return substr(slurp_file($node->logfile), $from);
}

sql(q{SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'first', points => n, idempotency_key => 'k')) FROM generate_series(1, 10) n});
my $neighbour = session(q{BEGIN; SELECT scoreboard_increment_for('p9', 'AWARD', 'neighbour', points => 1)});
my $neighbour_pid = pid($neighbour);

# Whatever holds the player up, and whatever moderates it
my %holders = (
	'an action' => q{BEGIN; SELECT scoreboard_increment_for('p1', 'AWARD', 'held', points => 1)},
	'a retry' => q{BEGIN; SELECT scoreboard_increment_for('p1', 'AWARD', 'first', points => 1, idempotency_key => 'k')},
	'an action in a savepoint' => q{BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT scoreboard_increment_for('p1', 'AWARD', 'held', points => 1)},
	'a batch' => q{BEGIN; SELECT count(*) FROM scoreboard_submit((SELECT json_build_array(json_build_object('actionType', 'FIND_COIN', 'actionId', 'held', 'issuedAt', now,
		'receipt', sign.receipt('p1', 'FIND_COIN', 'held', issued_at => now), 'token', sign.token('p1'))) FROM sign.now() now))},
	'an action with a new name' => q{BEGIN; SELECT scoreboard_increment('FIND_COIN', 'held', issued_at => now, receipt => sign.receipt('p1', 'FIND_COIN', 'held', issued_at => now),
		token => sign.token('p1', jsonb_build_object('name', 'Name ' || clock_timestamp()))) FROM sign.now() now},
	'a player that chooses' => q{BEGIN; SELECT scoreboard_set_listed(false, token => sign.token('p1'))},
	'a server that sets a name' => q{BEGIN; SELECT scoreboard_set_profile('p1', 'Name')});
my %moderations = (
	freeze => [ q{SELECT scoreboard_freeze('p1')}, 'frozen|f' ],
	ban => [ q{SELECT scoreboard_ban('p1')}, 'banned|f' ],
	hide => [ q{SELECT scoreboard_hide('p1')}, 'active|t' ],
	'an UPDATE' => [ q{UPDATE scoreboard.player SET state = 'banned', hidden = true WHERE user_id = 'p1'}, 'banned|t' ],
	'an UPDATE of many' => [ q{UPDATE scoreboard.player SET hidden = true WHERE user_id <> 'p9'}, 'active|t' ]);
foreach my $holder (sort keys %holders)
{
	foreach my $moderation (sort keys %moderations)
	{
		my ($statement, $outcome) = @{ $moderations{$moderation} };

		# SQL of an administrator's own waits for the row as long as any SQL does.
		next if $holder =~ / name|chooses/ and $moderation =~ /UPDATE/;

		my $held = session($holders{$holder});
		my $pid = pid($held);
		my $from = -s $node->logfile;

		sql($statement);
		is(sql(q{SELECT state, hidden FROM scoreboard.player WHERE user_id = 'p1'}), $outcome, "$moderation takes effect beside $holder");
		like(log_of($from), qr/scoreboard ended the session of process $pid, of role "\S+"\n.*It held up the lock of player "p1" for longer than scoreboard.moderation_wait \(300 ms\)/,
			'and the log says whom it ended, and why');
		is(sql(q{SELECT count(*) FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = 'p1'}), 1, 'nothing of it was counted');
		eval { $held->quit };
		sql(q{UPDATE scoreboard.player SET state = 'active', hidden = false});
	}
}
unlike(slurp_file($node->logfile), qr/ended the session.*\n.*DETAIL.*\n.*(?:STATEMENT|CONTEXT):/, 'without a statement');
is(lives($neighbour_pid), 1, 'other players are left alone');
is(sql('SELECT * FROM scoreboard_verify()'), '', 'nothing differs');

# Those who queue up go with the one that they wait for.
my @queue = session(q{BEGIN; SELECT scoreboard_increment_for('p1', 'AWARD', 'held', points => 1)});
foreach my $n (1 .. 4)
{
	my $waiter = $node->background_psql('game', on_error_stop => 0);

	$waiter->query_until(qr/go/, "\\echo go\nBEGIN; SELECT scoreboard_increment_for('p1', 'AWARD', 'queued $n', points => 1);\nSELECT pg_sleep(1000);\n");
	push @queue, $waiter;
	wait_until($node, 'game', "count(*) = $n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'it waits');
}
sql(q{SELECT scoreboard_freeze('p1')});
is(sql(q{SELECT count(*) FROM scoreboard.action WHERE action_id LIKE 'queued%'}), 0, 'who had queued up before the moderator did not act any more');
is(sql(q{SELECT state FROM scoreboard.player WHERE user_id = 'p1'}), 'frozen', 'the player is frozen');
foreach my $session (@queue) { eval { $session->quit } }

# And who comes again and again is too late once.
sql(q{SELECT scoreboard_restore('p1')});
my $stop = $node->basedir . '/stop';
my @evaders;
foreach my $n (1 .. 6)
{
	push @evaders, IPC::Run::start([ 'sh', '-c', qq{while ! test -e $stop; do psql -XAtq -v ON_ERROR_STOP=1 -c "BEGIN" -c "SELECT scoreboard_increment_for('p1', 'AWARD', 'again' || clock_timestamp(), points => 1)" -c "SELECT pg_sleep(1000)" -d "\$0"; done}, $node->connstr('game') ],
		'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
}
wait_until($node, 'game', "count(*) >= 4 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'they queue');
sql(q{SELECT scoreboard_ban('p1')});
is(sql(q{SELECT state FROM scoreboard.player WHERE user_id = 'p1'}), 'banned', 'who comes again and again is banned all the same');
append_to_file($stop, '');
$_->finish foreach @evaders;
sql(q{SELECT scoreboard_restore('p1')});

# Moderators wait for each other; the wait can be left.
my $moderator = session(q{BEGIN; SELECT scoreboard_ban('p2')});
my $moderator_pid = pid($moderator);
foreach my $case ([ 'lock_timeout', q{SET lock_timeout = '100ms'}, qr/canceling statement due to lock timeout/ ],
	[ 'statement_timeout', q{SET statement_timeout = '100ms'}, qr/canceling statement due to statement timeout/ ])
{
	foreach my $statement (q{SELECT scoreboard_freeze('p2')}, q{UPDATE scoreboard.player SET hidden = true WHERE user_id = 'p2'})
	{
		my ($status, undef, $error) = $node->psql('game', "$case->[1]; $statement");

		like($error, $case->[2], "$case->[0] ends the wait for another moderator: $statement");
	}
}
is(lives($moderator_pid), 1, 'who is not ended');
$moderator->query_safe('COMMIT');
is(sql(q{SELECT state FROM scoreboard.player WHERE user_id = 'p2'}), 'banned', 'and has banned the player');
sql(q{SELECT scoreboard_restore('p2')});
my $held = session(q{BEGIN; SELECT scoreboard_increment_for('p2', 'AWARD', 'held', points => 1)});
my $held_pid = pid($held);
foreach my $case ([ 'lock_timeout', q{SET lock_timeout = '10ms'} ], [ 'statement_timeout', q{SET statement_timeout = '100ms'} ])
{
	my ($status) = $node->psql('game', "SET scoreboard.moderation_wait = '10min'; $case->[1]; SELECT scoreboard_ban('p2')");

	is($status, 3, "$case->[0] comes before a longer scoreboard.moderation_wait");
}
is(lives($held_pid), 1, 'and nobody is ended then');
$held->query_safe('COMMIT');
$held->quit;

# A player's own choice waits for its action, and ends nobody.
$held = session(q{BEGIN; SELECT scoreboard_increment_for('p6', 'AWARD', 'held', points => 1)});
$held_pid = pid($held);
foreach my $statement (q{SELECT scoreboard_set_listed(false, token => sign.token('p6'))}, q{UPDATE scoreboard.player SET unlisted = true WHERE user_id = 'p6'})
{
	my (undef, undef, $error) = $node->psql('game', "SET lock_timeout = '1s'; $statement");

	like($error, qr/canceling statement due to lock timeout/, "it waits for longer than scoreboard.moderation_wait: $statement");
}
is(lives($held_pid), 1, 'and nobody is ended');
$held->query_safe('COMMIT');
$held->quit;

# Oneself; and not everybody may set how long.
is(sql(q{BEGIN; SELECT scoreboard_increment_for('p3', 'AWARD', 'own', points => 1) \g /dev/null
	SELECT scoreboard_ban('p3') \g /dev/null
	COMMIT; SELECT state FROM scoreboard.player WHERE user_id = 'p3'}), 'banned', 'a moderator that has acted for the player does not end itself');
sql('CREATE ROLE guest');
my (undef, undef, $denied) = $node->psql('game', q{SET ROLE guest; SET scoreboard.moderation_wait = '1h'});
like($denied, qr/permission denied to set parameter "scoreboard.moderation_wait"/, 'a player can not lengthen it');

# A holder that waits for the moderator in turn: a deadlock that the moderator wins, however long it would wait.
sql(q{ALTER SYSTEM SET deadlock_timeout = '100ms'; SELECT pg_reload_conf()});
$moderator->query_safe(q{SET scoreboard.moderation_wait = '10min'});
$moderator->query_safe(q{BEGIN; SELECT scoreboard_ban('p4')});
$held = session(q{BEGIN; SELECT scoreboard_increment_for('p5', 'AWARD', 'held', points => 1)});
$held->query_until(qr/go/, "\\echo go\nSELECT scoreboard_increment_for('p4', 'AWARD', 'held', points => 1);\n");
wait_until($node, 'game', "count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'the holder waits');
$moderator->query_safe(q{SELECT scoreboard_ban('p5'); COMMIT});
is(sql(q{SELECT string_agg(state, ' ') FROM scoreboard.player WHERE user_id IN ('p4', 'p5')}), 'banned banned', 'in a deadlock the moderator wins');
eval { $held->quit };
$neighbour->query_safe('ROLLBACK');

# Every way of changing the same few players at once: no deadlock.
sql(q{UPDATE scoreboard.player SET state = 'active', hidden = false});
my @scripts;
foreach my $statement (
	q{UPDATE scoreboard.player SET hidden = NOT hidden WHERE user_id = 'p' || :p},
	q{SELECT scoreboard_hide('p' || :p, :b = 1)},
	q{SELECT scoreboard_freeze('p' || :p), scoreboard_restore('p' || :p)},
	q{SELECT scoreboard_set_profile('p' || :p, 'Name ' || :a)},
	q{SELECT scoreboard_set_listed(:b = 1, :a % 2 = 1, sign.token('p' || :p))},
	q{SELECT scoreboard_set_listed(:b = 1, :a % 2 = 1, sign.token('new' || :a % 50))},
	q{SELECT scoreboard_set_profile('new' || :a % 50, 'Name ' || :a)},
	q{UPDATE scoreboard.player SET hidden = false WHERE user_id = 'new' || :a % 50},
	q{SELECT sign.outcome('SELECT scoreboard_increment_for(''new' || :a % 50 || ''', ''AWARD'', ''a' || :a || ''', points => 1)')},
	q{SELECT sign.outcome('SELECT (scoreboard_increment(''FIND_COIN'', ''a' || :a || ''', issued_at => now, receipt => sign.receipt(''p' || :p || ''', ''FIND_COIN'', ''a' || :a || ''', issued_at => now),'
		' token => sign.token(''p' || :p || ''', jsonb_build_object(''name'', ''Name ' || :a || ''')))).score FROM sign.now() now')})
{
	my $file = $node->basedir . '/mixed' . scalar(@scripts) / 2;

	append_to_file($file, "\\set p random(1, 3)\n\\set b random(0, 1)\n\\set a random(1, 1000000000)\n$statement;\n");
	push @scripts, '-f', $file;
}
my $from = -s $node->logfile;
my ($out, $err) = ('', '');
sql(q{ALTER SYSTEM SET scoreboard.moderation_wait = '10min'; SELECT pg_reload_conf()});
ok(IPC::Run::run([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 200, @scripts, $node->connstr('game') ], '<', '/dev/null', '>', \$out, '2>', \$err), 'every way of changing a player at once')
  or diag($err);
unlike(log_of($from), qr/deadlock detected/, 'no deadlock');
unlike(log_of($from), qr/ended the session/, 'and nobody is ended');
is(sql('SELECT * FROM scoreboard_verify()'), '', 'nothing differs');

sql(q{UPDATE scoreboard.player SET unlisted = false WHERE unlisted});

# More players than the server has locks: said before anything is written, and slices of what it says fit.
sql(q{INSERT INTO scoreboard.player (user_id) SELECT 'many' || n FROM generate_series(1, 20000) n;
	INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT 1, 1, player_id, 5, now() FROM scoreboard.player WHERE user_id LIKE 'many%'});
foreach my $statement (q{UPDATE scoreboard.player SET hidden = true WHERE user_id LIKE 'many%'}, q{SELECT count(scoreboard_freeze(user_id)) FROM scoreboard.player WHERE user_id LIKE 'many%'},
	q{DO $$ BEGIN FOR n IN 1..20000 LOOP PERFORM scoreboard_ban('many' || n); END LOOP; END $$}, q{SELECT count(scoreboard_increment_for(user_id, 'AWARD', 'many', points => 1)) FROM scoreboard.player WHERE user_id LIKE 'many%'})
{
	my (undef, undef, $error) = $node->psql('game', $statement);

	like($error, qr/the transaction acts for too many players/, "refused: $statement");
	is(sql(q{SELECT count(*) FROM scoreboard.player JOIN scoreboard.score s USING (player_id) WHERE user_id LIKE 'many%' AND (state <> 'active' OR hidden OR NOT listed OR s.score <> 5)}), 0, 'and nothing is changed');
}
my (undef, undef, $error) = $node->psql('game', q{UPDATE scoreboard.player SET hidden = true WHERE user_id LIKE 'many%'});
my ($slice) = $error =~ /Commit after every (\d+) players/;
cmp_ok($slice, '>=', 1000, 'a batch is smaller');
sql(qq{UPDATE scoreboard.player SET hidden = true WHERE player_id IN (SELECT player_id FROM scoreboard.player WHERE user_id LIKE 'many%' AND NOT hidden LIMIT $slice)});
is(sql(q{SELECT count(*) FROM scoreboard.score WHERE NOT listed AND score = 5}), $slice, 'a slice of what it says is changed');
is(sql(q{BEGIN; CREATE TEMP TABLE slice AS SELECT player_id FROM scoreboard.player WHERE hidden AND user_id LIKE 'many%';
	UPDATE scoreboard.player SET hidden = false WHERE player_id IN (SELECT player_id FROM slice);
	UPDATE scoreboard.player SET hidden = true WHERE player_id IN (SELECT player_id FROM slice);
	UPDATE scoreboard.player SET hidden = false WHERE player_id IN (SELECT player_id FROM slice);
	COMMIT; SELECT count(*) FROM scoreboard.player WHERE hidden AND user_id LIKE 'many%'}), 0, 'whom the transaction holds already needs no more room');
is(sql(qq{DO \$\$ BEGIN FOR n IN 1..20000 LOOP BEGIN PERFORM scoreboard_freeze('many' || n); RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN END; END LOOP; END \$\$;
	SELECT count(*) FROM scoreboard.player WHERE state = 'frozen'}), 0, 'what is rolled back does not count');

$_->quit foreach ($moderator, $neighbour);
$node->stop;
done_testing();
