# While a dump is being restored the publisher neither judges what is there nor takes it away: the other half may explain it. Kept
# versions come before the board that keeps them, an ended season before its scores, a changed name before the document that shows the
# old one. When the restore is over, all of it is gone about.
# Needs a session that restores as pg_restore's do, and stays in the middle.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $db = 'half';
my $node = new_node('half', conf => "log_min_messages = debug1\n");
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, 'CREATE EXTENSION scoreboard CASCADE');
wait_for_version($node, $db, 'global', 1);
sub sql { return $node->safe_psql($db, $_[0]); }

sub put_off
{
	my ($what, $from) = @_;

	$node->wait_for_log(qr/scoreboard tries again in \d+ ms: $what/, $from);
	return;
}

my $restorer = $node->background_psql($db);
$restorer->query_safe('SET check_function_bodies = off; SET xmloption = content');
my $from = -s $node->logfile;
# Of a board that comes, and of one that doesn't
$restorer->query_safe(<<'EOT');
INSERT INTO scoreboard.kept_version SELECT board_id, now() - interval '1 hour', 5, 1, '-infinity', 'infinity', 1, '{1}', '{7}', '{10}' FROM (VALUES (77), (78)) AS b (board_id);
EOT
$restorer->query_safe(<<'EOT');
INSERT INTO scoreboard.player (player_id, user_id, display_name) VALUES (7, 'ann', 'Ann'), (8, 'bob', 'Bob');
EOT
# A setting of what is to be purged wakes the publisher.
$restorer->query_safe('INSERT INTO scoreboard.retention DEFAULT VALUES');
put_off('looking for actions, seasons and kept versions to purge', $from);
is(sql('SELECT count(*) FROM scoreboard.kept_version'), 2, 'kept versions are there before their board');

$restorer->query_safe(q{INSERT INTO scoreboard.board (board_id, name, period, keep_versions, kept_since) VALUES (77, 'rounds', 'reset', '1 day', now() - interval '2 hours')});
$restorer->query_safe(q{INSERT INTO scoreboard.season (board_id, season, began_at, ended_at) VALUES (77, 1, now() - interval '1 day', now() - interval '1 minute'), (77, 2, now() - interval '1 minute', NULL)});
wait_for_version($node, $db, 'rounds', 1);
$restorer->query_safe(q{INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at) VALUES (77, 1, 7, 10, now()), (77, 1, 8, 9, now()), (77, 2, 8, 1, now())});
is(sql('SELECT count(*) FROM scoreboard.season WHERE final'), 0, 'no season is final before its scores are there');
$restorer->quit;

wait_until($node, $db, 'NOT EXISTS (SELECT FROM scoreboard.kept_version WHERE board_id = 78)', 'what no board keeps is purged');
is(sql(q{SELECT count(*) FROM scoreboard.kept_version WHERE board_id = 77 AND version = 5}), 1, 'what one keeps is not');
wait_until($node, $db, 'EXISTS (SELECT FROM scoreboard.season WHERE board_id = 77 AND season = 1 AND final)', 'the season is final');
is(sql(q{SELECT players, document::json -> 'entries' -> 1 ->> 'userId' FROM scoreboard.season WHERE board_id = 77 AND season = 1}), '2|bob', 'with all who are in it');

$node->stop;
done_testing();
