# A session that sits in a transaction on something that publishing writes or reads holds up the lists that need just that, and no others; the log
# says once who it is, and when it is gone they are published.
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

my $db = 'game';
my $node = new_node('held', conf => "max_prepared_transactions = 5\n");
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }
sql(q{INSERT INTO scoreboard.board (name, publish_interval_ms) VALUES ('held', 10), ('free', 10);
	INSERT INTO scoreboard.board (name, publish_interval_ms) SELECT 'many' || n, 10 FROM generate_series(1, 300) n});
wait_until($node, $db, "count(*) = 303 FROM scoreboard.top", 'all boards are published');

my $score = 0;

# Three lists that follow each other: whatever is tried meanwhile has been tried.
sub others_go_on
{
	my ($what) = @_;

	foreach (1 .. 3)
	{
		$score++;
		add_score($node, $db, 'free', 'anna', $score);
		wait_for_list($node, $db, 'free', $score);
	}
	is($node->safe_psql($db, q{SELECT document::json -> 'entries' -> 0 ->> 'score' FROM scoreboard.top WHERE board = 'free'}), $score, "another board is published $what");
	return;
}

# A session in a transaction that has run these statements, and what the log says of it
sub hold
{
	my ($statements) = @_;
	my $holder = $node->background_psql($db);

	$holder->query_safe("SET application_name = 'the holder'; BEGIN; $statements");
	return ($holder, $holder->query_safe('SELECT pg_backend_pid()'), -s $node->logfile);
}

sub told
{
	my ($what, $pid, $offset) = @_;

	$node->wait_for_log(qr/LOG:  $what not published: process $pid is in the way/, $offset);
	like(slurp_file($node->logfile, $offset), qr/DETAIL:  Role "\S+", application "the holder", idle in transaction, its transaction began \S+ ago\.\n.*HINT:  .*pg_terminate_backend\($pid\)/,
		'the log says who it is and what to do');
	return;
}

sub let_go
{
	my ($holder, $what, $offset, $ready) = @_;

	is(scalar(() = slurp_file($node->logfile, $offset) =~ /is in the way/g), 1, 'that was said once');
	$holder->query_safe('COMMIT');
	$holder->quit;
	$ready->();
	$node->wait_for_log(qr/LOG:  $what published again/, $offset);
	is(scalar(() = slurp_file($node->logfile, $offset) =~ /LOG:  $what published again/g), 1, "when the session is gone, $what published");
	return;
}

my $given = 0;

sub give
{
	$given++;
	sql(qq{INSERT INTO scoreboard.player (user_id) VALUES ('ben') ON CONFLICT DO NOTHING;
		INSERT INTO scoreboard.score AS s (board_id, season, player_id, score, reached_at)
			SELECT b.board_id, t.season, p.player_id, $given, clock_timestamp() FROM scoreboard.board b JOIN scoreboard.top t ON t.board = b.name, scoreboard.player p WHERE b.name = 'held' AND p.user_id = 'ben'
			ON CONFLICT (board_id, season, player_id) DO UPDATE SET score = excluded.score});
	return;
}

sub is_held { return sql(q{SELECT document LIKE '%"score":' || } . $given . q{ || ',%' FROM scoreboard.top WHERE board = 'held'}) eq 'f'; }

# Rows: of scoreboard.top; of a season that is about to be recorded; and whatever an administrator's own trigger waits for.
sql(q{CREATE FUNCTION own_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.board = 'held' THEN PERFORM pg_advisory_xact_lock(7); END IF; RETURN NEW; END $$;
	CREATE TRIGGER own BEFORE UPDATE ON scoreboard.top FOR EACH ROW EXECUTE FUNCTION own_trigger()});
sql(q{UPDATE scoreboard.board SET period = 'reset' WHERE name = 'held'});
wait_until($node, $db, q{EXISTS (SELECT FROM scoreboard.season JOIN scoreboard.board USING (board_id) WHERE name = 'held')}, 'its season is recorded');
foreach my $case ([ 'its row of scoreboard.top', q{SELECT FROM scoreboard.top WHERE board = 'held' FOR UPDATE} ],
	[ 'an advisory lock', 'SELECT pg_advisory_xact_lock(7)' ],
	[ 'its season', q{INSERT INTO scoreboard.season (board_id, season, began_at) SELECT board_id, season, now() FROM scoreboard.board b JOIN scoreboard.top t ON t.board = b.name WHERE name = 'held'} ])
{
	my ($what, $statements) = @$case;

	sql(q{DELETE FROM scoreboard.season WHERE board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'held')}) if $what eq 'its season';
	my ($holder, $pid, $offset) = hold($statements);
	give();
	others_go_on("while somebody sits on $what");
	told('scoreboard "held" is', $pid, $offset);
	others_go_on('still');
	ok(is_held(), 'the board itself is not');
	let_go($holder, 'scoreboard "held" is', $offset, sub { wait_for_list($node, $db, 'held', $given) });
}

# A prepared transaction, which no session has, and a restart that it outlives
my $offset = -s $node->logfile;
sql(q{BEGIN; SELECT FROM scoreboard.top WHERE board = 'held' FOR UPDATE; PREPARE TRANSACTION 'forgotten'});
foreach my $when ('', 'after a restart ')
{
	give();
	others_go_on("while a prepared transaction holds a row $when");
	$node->wait_for_log(qr/LOG:  scoreboard "held" is not published: a prepared transaction is in the way\n.*DETAIL:  Role "\S+" prepared it as 'forgotten' \S+ ago\.\n.*HINT:  .*ROLLBACK PREPARED 'forgotten'/, $offset);
	last if $when;
	$offset = -s $node->logfile;
	$node->restart;
}
sql(q{ROLLBACK PREPARED 'forgotten'});
wait_for_list($node, $db, 'held', $given);

# Who holds hundreds of rows, half of which have something to be published, is one session: and one line.
my ($holder, $pid, $from) = hold(q{SELECT FROM scoreboard.top WHERE board LIKE 'many%' FOR UPDATE});
sql(q{INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) SELECT b.board_id, 1, p.player_id, 1, now()
	FROM scoreboard.board b, scoreboard.player p WHERE b.name LIKE 'many%' AND b.board_id % 2 = 0 AND p.user_id = 'ben'});
others_go_on('while somebody sits on hundreds');
told('scoreboard "many\d+" is', $pid, $from);
others_go_on('still');
is(sql(q{SELECT sum(players) FROM scoreboard.top WHERE board LIKE 'many%'}), 0, 'the lists themselves are not');
let_go($holder, 'scoreboard "many\d+" is', $from, sub { wait_until($node, $db, q{sum(players) = 150 FROM scoreboard.top WHERE board LIKE 'many%'}, 'all are published') });

# A board that is gone while somebody sits on its list: nobody stays in it.
($holder) = hold(q{SELECT FROM scoreboard.top WHERE board = 'many2' FOR UPDATE});
is(sql(q{SELECT count(*) FROM scoreboard.board b JOIN scoreboard.top t ON t.board = b.name WHERE b.name IN ('many1', 'many2') AND t.players = 1}), 1, 'one of these has a player');
my ($gone) = split /\|/, sql(q{SELECT board FROM scoreboard.top WHERE board IN ('many1', 'many2') AND players = 1});
$holder->query_safe(qq{SELECT FROM scoreboard.top WHERE board = '$gone' FOR UPDATE});
sql(qq{DELETE FROM scoreboard.score WHERE board_id = (SELECT board_id FROM scoreboard.board WHERE name = '$gone'); DELETE FROM scoreboard.board WHERE name = '$gone'});
others_go_on('while somebody sits on the list of one that is gone');
is(sql(qq{SELECT players FROM scoreboard.top WHERE board = '$gone'}), 1, 'which stays');
$holder->query_safe('COMMIT');
$holder->quit;
wait_until($node, $db, qq{players = 0 FROM scoreboard.top WHERE board = '$gone'}, 'it is empty');

# Whole tables. Nothing can be published then; it is said, and goes on by itself.
foreach my $lock ('scoreboard.top IN SHARE MODE', 'scoreboard.top IN ACCESS EXCLUSIVE MODE', 'scoreboard.board IN ACCESS EXCLUSIVE MODE', 'scoreboard.season IN ACCESS EXCLUSIVE MODE')
{
	my ($locker, $who, $since) = hold("LOCK TABLE $lock");

	$node->psql($db, q{SET lock_timeout = '100ms'; UPDATE scoreboard.score SET score = score + 1});
	told('the scoreboards of database \d+ are', $who, $since);
	let_go($locker, 'the scoreboards of database \d+ are', $since, sub { others_go_on("after LOCK TABLE $lock") });
}

# One that lists only read; and the extension being dropped, after all not.
($holder, $pid, $from) = hold('LOCK TABLE scoreboard.player IN ACCESS EXCLUSIVE MODE');
sql('UPDATE scoreboard.score SET score = score + 1');
told('scoreboard "\w+" is', $pid, $from);
let_go($holder, 'scoreboard "\w+" is', $from, sub { others_go_on('after all') });
($holder, $pid, $from) = hold('DROP EXTENSION scoreboard CASCADE');
$holder->query_safe('ROLLBACK');
$holder->quit;
others_go_on('after DROP EXTENSION was rolled back');

# The server's end, while somebody is in the way
($holder) = hold(q{SELECT FROM scoreboard.top WHERE board = 'held' FOR UPDATE});
give();
others_go_on('before the end');
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|FATAL:  terminating background worker "scoreboard/, 'nothing ended as it should not');
done_testing();
