# What the publisher's worker does beside publishing: what fails is tried again after a back-off that grows and is forgotten with the
# first success, and what can be done beside it is done. Needs the worker, and its log.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('chores', conf => "log_min_messages = debug1\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

# An increment that is refused, and so a refusal to store
sub refuse
{
	my ($user_id) = @_;

	$node->psql($db, "SELECT scoreboard_increment_for('$user_id', 'NO_SUCH_TYPE', 'a')");
	return;
}

sub wait_for_refusal
{
	my ($user_id) = @_;

	wait_until($node, $db, "EXISTS (SELECT FROM scoreboard.refusal WHERE user_id = '$user_id')", "the refusal of $user_id is stored");
	return;
}

# A failure that is over is forgotten: the next one is tried again as soon as the first.
my $offset = -s $node->logfile;
foreach my $name ('one', 'two')
{
	my $seen = -s $node->logfile;

	sql('ALTER TABLE scoreboard.refusal RENAME TO away');
	refuse($name);
	$node->wait_for_log(qr/scoreboard tries again/, $seen);
	sql('ALTER TABLE scoreboard.away RENAME TO refusal');
	wait_for_refusal($name);
}
is(join(' ', slurp_file($node->logfile, $offset) =~ /scoreboard tries again in (\d+) ms: storing refusals/g), '1000 1000',
	'refusals that can not be stored are tried again, after a failure as after the first');

# Whatever an error brings along, the log says what was being done.
$offset = -s $node->logfile;
sql(q{CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room' USING DETAIL = 'It is full.', HINT = 'Make room.'; END $$;
	CREATE TRIGGER no_room BEFORE INSERT ON scoreboard.refusal FOR EACH ROW EXECUTE FUNCTION refuse_row()});
refuse('three');
$node->wait_for_log(qr/scoreboard tries again/, $offset);
like(slurp_file($node->logfile, $offset), qr/LOG:  no room\n[^\n]*DETAIL:  It is full\.\n[^\n]*HINT:  Make room\.\n[^\n]*CONTEXT:  storing refusals\n/, 'an error of a chore with all that belongs to it');
sql('DROP TRIGGER no_room ON scoreboard.refusal; DROP FUNCTION refuse_row()');
wait_for_refusal('three');

# Nor is what fails forgotten over what succeeds beside it: a board whose row can't be read keeps all ranks from being built.
sub ranks { return "(SELECT string_agg(state, ' ') FROM unnest(ARRAY[1, 2]) b, scoreboard.rank_state(b, 1)) = '$_[0]'"; }
sql(q{ALTER TABLE scoreboard.board DISABLE TRIGGER USER, ALTER COLUMN ties DROP NOT NULL; INSERT INTO scoreboard.board (board_id, name) VALUES (2, 'two')});
sql(q{SELECT count(*) FROM scoreboard_top('two')});
wait_until($node, $db, ranks('ready ready'), 'both boards have their ranks');
$offset = -s $node->logfile;
sql(q{UPDATE scoreboard.board SET ties = NULL WHERE name = 'two'; ALTER TABLE scoreboard.score SET (fillfactor = 71)});
$node->wait_for_log(qr/scoreboard tries again in \d+ ms: building ranks/, $offset);
refuse('beside');
wait_for_refusal('beside');
is(sql('SELECT ' . ranks('wanted wanted')), 't', 'a refusal is stored while ranks can not be built');
sql(q{UPDATE scoreboard.board SET ties = 'first' WHERE name = 'two'});
my $since = time;
wait_until($node, $db, ranks('ready ready'), 'ranks are built when they can be');
cmp_ok(time - $since, '<', 30, 'they are built when they can be: after the back-off, not when the publisher looks anyway, once a minute');

# Session keys and grants that have been dead for a week go when the publisher starts, and every ten minutes; what lives, and who has died since, stays.
sql(q{INSERT INTO scoreboard.session_key (key_id, user_id, secret, created_at, expires_at, revoked_at)
	SELECT kind || n, 'p', repeat('0', 64), now() - interval '20 days', now() + expires, now() + revoked FROM generate_series(1, 10001) AS n,
		(VALUES ('expired', interval '-7 days -1 second', NULL), ('revoked', '1 day', interval '-7 days -1 second'), ('both', '-8 days', '-1 day')) AS v (kind, expires, revoked)
	UNION ALL VALUES ('alive', 'p', repeat('0', 64), now(), now() + interval '1 hour', NULL), ('late', 'p', repeat('0', 64), now(), now() - interval '6 days', NULL),
		('out', 'p', repeat('0', 64), now(), now() + interval '1 hour', now() - interval '6 days')});
sql(q{INSERT INTO scoreboard.grant_token (grant_id, user_id, action_type_id, board_id, created_at, expires_at)
	SELECT 'g' || n, 'p', 1, 1, now() - interval '20 days', now() - interval '7 days 1 second' FROM generate_series(1, 10001) AS n
	UNION ALL VALUES ('alive', 'p', 1, 1, now(), now() + interval '1 hour'), ('late', 'p', 1, 1, now(), now() - interval '6 days')});
$node->restart;
wait_until($node, $db, '(SELECT count(*) FROM scoreboard.session_key) = 3 AND (SELECT count(*) FROM scoreboard.grant_token) = 2', 'the dead are gone');
is(sql(q{SELECT string_agg(grant_id, ' ' ORDER BY grant_id) FROM scoreboard.grant_token}), 'alive late', 'expired grants are purged after a week');
is(sql(q{SELECT string_agg(key_id, ' ' ORDER BY key_id) FROM scoreboard.session_key}), 'alive late out', 'dead session keys are purged after a week');

# So do the counts of refusals on boards that are gone; whoever deletes one and stays in the transaction holds up nobody's.
sql(q{INSERT INTO scoreboard.board (board_id, name) VALUES (3, 'gone')});
sub refuse_on { $node->psql($db, "SELECT scoreboard_increment_for('p', 'NO_SUCH_TYPE', '$_[0]', '$_[1]')"); return; }
sub refused { return "(SELECT refusals ->> 'ACTION_NOT_ALLOWED' FROM scoreboard_stats() WHERE board = '$_[0]') = '$_[1]'"; }
refuse_on('g1', 'gone');
refuse_on('g2', 'gone');
wait_until($node, $db, refused('gone', 2), 'refusals are counted');
my $idle = $node->background_psql($db);
$idle->query_safe(q{BEGIN; DELETE FROM scoreboard.board WHERE name = 'gone'});
my $counted = sql(q{SELECT refusals ->> 'ACTION_NOT_ALLOWED' FROM scoreboard_stats() WHERE board = 'global'}) + 1;
refuse_on('g3', 'global');
refuse_on('g4', 'gone');
wait_until($node, $db, refused('global', $counted), 'beside a transaction that deletes a board, too');
$idle->query_safe('COMMIT');
$idle->quit;
is(sql('SELECT count(*) FROM scoreboard.refusal_count c LEFT JOIN scoreboard.board b USING (board_id) WHERE b.board_id IS NULL'), 1, 'its counts stay for a while');
$node->restart('immediate');
wait_until($node, $db, 'NOT EXISTS (SELECT FROM scoreboard.refusal_count c LEFT JOIN scoreboard.board b USING (board_id) WHERE b.board_id IS NULL)', 'and go when the publisher looks');
is(sql("SELECT " . refused('global', $counted)), 't', 'those of others survive a crash');

$node->stop;
done_testing();
