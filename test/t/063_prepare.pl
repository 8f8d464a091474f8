# PREPARE TRANSACTION: refused to everything that has acted for a player, whatever it wrote and if it was nothing, since nobody could
# end it; allowed to everybody else's, in databases with and without the extension, whatever their tables are called.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('prepare', conf => "max_prepared_transactions = 5\nscoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
create_database($node, 'game');
$node->safe_psql('game', slurp_file("$FindBin::RealBin/../lib/signing.sql"));
$node->safe_psql('postgres', 'CREATE DATABASE other');

sub sql { return $node->safe_psql('game', $_[0]); }

# Empty: it could be prepared (and is rolled back then); or the error.
sub prepared
{
	my ($database, $statements) = @_;
	my ($status, undef, $error) = $node->psql($database, "BEGIN; $statements; PREPARE TRANSACTION 'p'", on_error_stop => 1);

	$node->safe_psql($database, "ROLLBACK PREPARED 'p'") if $status == 0;
	return $status == 0 ? '' : $error;
}

# Strangers, with our names
$node->safe_psql('other', q{
	CREATE SCHEMA scoreboard;
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TABLE public.score (board_id int);
	CREATE TABLE scoreboard.score (board_id int, player_id bigint);
	CREATE TABLE scoreboard.player (player_id bigint);
	CREATE TRIGGER changed AFTER INSERT ON scoreboard.score EXECUTE FUNCTION nothing()});
$node->safe_psql('game', q{
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TABLE public.score (board_id int);
	CREATE TRIGGER changed AFTER INSERT ON public.score EXECUTE FUNCTION nothing()});
foreach my $case (
	[ 'other', 'ALTER TABLE scoreboard.score ADD other int' ],
	[ 'other', 'ALTER TABLE scoreboard.score DISABLE TRIGGER changed' ],
	[ 'other', 'DROP TRIGGER changed ON scoreboard.score' ],
	[ 'other', 'DROP TABLE scoreboard.score' ],
	[ 'other', 'INSERT INTO scoreboard.score VALUES (1, 1); TRUNCATE scoreboard.score, scoreboard.player' ],
	[ 'other', 'DROP TABLE public.score' ],
	[ 'other', 'CREATE EXTENSION pgcrypto' ],
	[ 'game',  'ALTER TABLE public.score ADD other int' ],
	[ 'game',  'ALTER TABLE public.score DISABLE TRIGGER changed' ],
	[ 'game',  'DROP TABLE public.score' ],
	[ 'game',  'CREATE EXTENSION pg_trgm' ])
{
	my ($database, $statements) = @$case;

	is(prepared($database, $statements), '', "$database: $statements");
}

# Ours
sql(q{
	SELECT count(scoreboard_increment_for('p' || n, 'AWARD', 'old', points => 5, idempotency_key => 'k')) FROM generate_series(1, 5) n;
	SELECT scoreboard_hide('p2'), scoreboard_freeze('p3')});

my $refused = qr/cannot PREPARE a transaction that has/;
my $batch = q{SELECT count(*) FROM scoreboard_submit((SELECT json_build_array(json_build_object('actionType', 'FIND_COIN', 'actionId', 'b', 'issuedAt', now,
	'receipt', sign.receipt('%1$s', 'FIND_COIN', 'b', issued_at => now), 'token', sign.token('%1$s'))) FROM sign.now() now))};
foreach my $case (
	[ 'an action',                       q{SELECT scoreboard_increment_for('p1', 'AWARD', 'a', points => 1)} ],
	[ 'a hidden player\'s',              q{SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1)} ],
	[ 'one worth nothing',               q{SELECT scoreboard_increment_for('p1', 'AWARD', 'a', points => 0)} ],
	[ 'a retry',                         q{SELECT scoreboard_increment_for('p1', 'AWARD', 'old', points => 5, idempotency_key => 'k')} ],
	[ 'a hidden player\'s retry',        q{SELECT scoreboard_increment_for('p2', 'AWARD', 'old', points => 5, idempotency_key => 'k')} ],
	[ 'a new player\'s',                 q{SELECT scoreboard_increment_for('new', 'AWARD', 'a', points => 1)} ],
	[ 'the player\'s own',               q{SELECT sign.increment('p1', 'FIND_COIN', 'a')} ],
	[ 'a batch',                         sprintf($batch, 'p1') ],
	[ 'a hidden player\'s batch',        sprintf($batch, 'p2') ],
	[ 'a frozen player\'s batch',        sprintf($batch, 'p3') ],
	[ 'within a savepoint',              q{SAVEPOINT s; SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1); RELEASE s} ],
	[ 'two savepoints deep',             q{SAVEPOINT s; SAVEPOINT t; SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1); RELEASE t; RELEASE s} ],
	[ 'before a savepoint rolled back',  q{SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1); SAVEPOINT s; } .
	                                     q{SELECT scoreboard_increment_for('p4', 'AWARD', 'a', points => 1); ROLLBACK TO s} ],
	[ 'a savepoint kept, one inside not', q{SAVEPOINT s; SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1); SAVEPOINT t; } .
	                                     q{SELECT scoreboard_increment_for('p4', 'AWARD', 'a', points => 1); ROLLBACK TO t; RELEASE s} ],
	[ 'freezing who is frozen',          q{SELECT scoreboard_freeze('p3')} ],
	[ 'a ban',                           q{SELECT scoreboard_ban('p4')} ],
	[ 'hiding by hand',                  q{UPDATE scoreboard.player SET hidden = true WHERE user_id = 'p4'} ],
	[ 'a score by hand',                 q{UPDATE scoreboard.score SET score = score + 1 WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'p4')} ],
	[ 'an altered table of ours',        q{ALTER TABLE scoreboard.score DISABLE TRIGGER changed} ],
	[ 'our extension dropped',           q{DROP EXTENSION scoreboard CASCADE} ])
{
	my ($name, $statements) = @$case;

	like(prepared('game', $statements), $refused, "refused: $name");
}

# What a savepoint took back, and what only read
foreach my $case (
	[ 'rolled back',                     q{SAVEPOINT s; SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1); ROLLBACK TO s} ],
	[ 'rolled back, one inside kept',    q{SAVEPOINT s; SAVEPOINT t; SELECT scoreboard_increment_for('p2', 'AWARD', 'a', points => 1); RELEASE t; ROLLBACK TO s} ],
	[ 'reading',                         q{SELECT count(*) FROM scoreboard.score; SELECT count(*) FROM scoreboard_top()} ])
{
	my ($name, $statements) = @$case;

	is(prepared('game', $statements), '', "allowed: $name");
}
sql(q{SELECT scoreboard_increment_for('p' || n, 'AWARD', 'after', points => 1) FROM generate_series(1, 2) n});
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, 'nobody holds a player up');

$node->stop;
done_testing();
