# A dump holds all that was recorded and all settings; what is restored from it goes on where the old database stopped: duplicates
# stay refused, access levels hold, and every list's version is greater than any that was seen before.
# Needs pg_dump and pg_restore: SQL can't show what they do with an extension's rows.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('dump', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\n");
my $host = $node->host;
my $port = $node->port;

create_database($node, 'game');
$node->safe_psql('game', <<'EOT');
CREATE ROLE dump_player;
CREATE ROLE dump_admin;
SELECT scoreboard_grant_access('dump_player', 'player');
SELECT scoreboard_grant_access('dump_admin', 'admin');
-- The board that CREATE EXTENSION brings, as an administrator left it
UPDATE scoreboard.board SET title = 'Everybody''s', top_size = 3, ties = 'shared', score_order = 'low', operator = 'best', lowest_score = -7 WHERE name = 'global';
INSERT INTO scoreboard.board (name, title, operator) VALUES ('weekly', 'Weekly', 'latest'), ('gone', '', 'sum');
DELETE FROM scoreboard.board WHERE name = 'gone';
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', -100, 1000);
INSERT INTO scoreboard.action_type (name, points) VALUES ('LEVEL', 5);
INSERT INTO scoreboard.action_rule (board_id, action_type_id, points) SELECT board_id, action_type_id, 9 FROM scoreboard.board, scoreboard.action_type WHERE board.name = 'global' AND action_type.name = 'LEVEL';
SELECT scoreboard_create_key('game', '{weekly}', '{LEVEL}'), scoreboard_create_key('old');
SELECT scoreboard_revoke_key('old'), scoreboard_rotate_key('game', 'game-2');
SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "kid": "k1", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}', 'a:', name_claim => 'name');
SELECT scoreboard_set_issuer('https://b.test', '{"keys": [{"kty": "oct", "alg": "HS256", "k": "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}', 'b:');
SELECT scoreboard_increment_for('p' || n, 'AWARD', 'first', points => n, idempotency_key => 'k', metadata => '{"n": 1.50}') FROM generate_series(1, 200) AS n;
SELECT scoreboard_increment_for('p' || n, 'AWARD', 'second', 'weekly', points => n % 7) FROM generate_series(1, 50) AS n;
SELECT scoreboard_set_profile('p1', E'Anna \U0001F600 "x" \\', 'https://img.test/a.png');
UPDATE scoreboard.player SET hidden = true WHERE user_id = 'p2';
UPDATE scoreboard.player SET state = 'banned' WHERE user_id = 'p3';
UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'p4';
INSERT INTO scoreboard.adjustment (reference, kind, reason) VALUES ('r', 'note', 'kept');
INSERT INTO scoreboard.season VALUES (1, 0, now(), now(), '{}');
INSERT INTO scoreboard.grant_token VALUES ('g', 1, 1, 1, NULL, now());
EOT
wait_for_list($node, 'game', 'global', '1 4 5');

# Every row of every table that is dumped, and where every sequence stands
my $all_rows = <<'EOT';
SELECT coalesce(string_agg(line, E'\n' ORDER BY line), '') FROM (
	SELECT format('%s %s', c.oid::regclass, (xpath('/row/x/text()', query_to_xml(format(CASE c.relkind
		WHEN 'S' THEN 'SELECT last_value || '' '' || is_called AS x FROM %s'
		ELSE 'SELECT count(*) || '' '' || coalesce(md5(string_agg(t::text, E''\n'' ORDER BY t::text)), '''') AS x FROM %s AS t' END, c.oid::regclass), false, true, '')))[1]) AS line
	FROM pg_extension e, unnest(e.extconfig) AS o JOIN pg_class c ON c.oid = o WHERE e.extname = 'scoreboard') AS lines
EOT
my $rights = <<'EOT';
SELECT string_agg(concat_ws(' ', a.name, has_function_privilege('dump_player', p.oid, 'EXECUTE'), has_function_privilege('dump_admin', p.oid, 'EXECUTE'), has_function_privilege('public', p.oid, 'EXECUTE')), E'\n' ORDER BY a.name)
	|| has_column_privilege('dump_admin', 'scoreboard.signing_key', 'secret', 'SELECT') || has_table_privilege('dump_admin', 'scoreboard.board', 'UPDATE')
FROM scoreboard.api_function a JOIN pg_proc p ON p.proname = a.name
EOT
my $before = $node->safe_psql('game', $all_rows);
my $rights_before = $node->safe_psql('game', $rights);
my $version = version($node, 'game', 'global');
like($before, qr/^scoreboard\.player_player_id_seq 200 true$/m, 'there is something to compare');

my $directory = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-h', $host, '-p', $port, '-Fp', '-f', "$directory/plain", 'game' ], 'pg_dump, plain');
$node->command_ok([ 'pg_dump', '-h', $host, '-p', $port, '-Fc', '-f', "$directory/custom", 'game' ], 'pg_dump, custom');

my @connection = ('-h', $host, '-p', $port);
my %restores = (
	'plain' => [ 'psql', @connection, '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/plain", '-d' ],
	'plain in one transaction' => [ 'psql', @connection, '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/plain", '-d' ],
	'custom' => [ 'pg_restore', @connection, '--exit-on-error', "$directory/custom", '-d' ],
);
foreach my $how (sort keys %restores)
{
	my $db = "game restored $how";

	$node->safe_psql('postgres', qq{CREATE DATABASE "$db" TEMPLATE template0});
	$node->command_ok([ @{ $restores{$how} }, $db ], "$how: restored");
	is($node->safe_psql($db, $all_rows), $before, "$how: every row and sequence is there");
	is($node->safe_psql($db, $rights), $rights_before, "$how: access levels hold");
	cmp_ok(wait_for_version($node, $db, 'global', $version + 1), '>', $version, "$how: the version is greater than any that was seen");
	wait_for_list($node, $db, 'global', '1 4 5');
	pass("$how: the list is the same");
	is($node->safe_psql($db, q{SELECT replayed, score FROM scoreboard_increment_for('p9', 'AWARD', 'first', points => 9, idempotency_key => 'k', metadata => '{"n": 1.5}')}),
		't|9', "$how: a retry is answered from the log");
	my ($status, $output, $errors) = $node->psql($db, q{SELECT scoreboard_increment_for('p9', 'AWARD', 'first', points => 9)});
	like($errors, qr/counted already/, "$how: a duplicate is refused");
	($status, $output, $errors) = $node->psql($db, q{SELECT scoreboard_increment_for('p4', 'AWARD', 'new', points => 9)});
	like($errors, qr/suspended/, "$how: the frozen stay frozen");
	is($node->safe_psql($db, q{SELECT previous_score, score FROM scoreboard_increment_for('p9', 'AWARD', 'third', points => -2)}),
		'9|-2', "$how: counting goes on");
	is($node->safe_psql($db, q{SELECT score FROM scoreboard_increment_for('new', 'AWARD', 'first', points => 50);
			SELECT player_id FROM scoreboard.player WHERE user_id = 'new';
			INSERT INTO scoreboard.board (name) VALUES ('new') RETURNING board_id}),
		"50\n201\n4", "$how: ids go on");
	wait_for_list($node, $db, 'global', '-2 1 4');
	pass("$how: the change is published");
}
is($node->safe_psql('game', $all_rows), $before, 'the old database was not touched');

$node->stop;
done_testing();
