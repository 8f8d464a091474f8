# A dump holds all that was recorded and all settings; what is restored from it goes on where the old database stopped: duplicates
# stay refused, access levels hold, and every list's version is greater than any that was seen before. So also where the boards that
# the installation makes were deleted, made again or renamed, and in whatever order the tables come. Where the extension has been
# used, nothing is restored and nothing lost.
# Needs pg_dump and pg_restore: SQL can't show what they do with an extension's rows.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

# A publisher for each database
my $node = new_node('dump', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nmax_worker_processes = 24\n");
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
INSERT INTO scoreboard.board (name, title, operator, time_zone, rate_limit, keep_versions) VALUES ('weekly', 'Weekly', 'latest', 'Asia/Tokyo', 500, '1 day'), ('gone', '', 'sum', 'UTC', NULL, NULL);
DELETE FROM scoreboard.board WHERE name = 'gone';
INSERT INTO scoreboard.board (name, counts_towards) VALUES ('region', '{1,2}');
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', -100, 1000);
INSERT INTO scoreboard.action_type (name, points) VALUES ('LEVEL', 5);
INSERT INTO scoreboard.action_rule (board_id, action_type_id, points) SELECT board_id, action_type_id, 9 FROM scoreboard.board, scoreboard.action_type WHERE board.name = 'global' AND action_type.name = 'LEVEL';
INSERT INTO scoreboard.action_type (name, proof, points, daily_quota) VALUES ('RARE', 'trusted', 1, 9);
INSERT INTO scoreboard.action_rule (board_id, action_type_id, hourly_quota, rate_limit, burst_limit) SELECT board_id, action_type_id, 1, 100, 0 FROM scoreboard.board, scoreboard.action_type WHERE board.name = 'weekly' AND action_type.name = 'RARE';
SELECT scoreboard_create_key('game', '{weekly}', '{LEVEL}'), scoreboard_create_key('old');
SELECT scoreboard_revoke_key('old'), scoreboard_rotate_key('game', 'game-2');
SELECT scoreboard_create_session_key('p9'), scoreboard_create_session_key('p10');
SELECT scoreboard_revoke_session_keys('p10');
SELECT scoreboard_set_issuer('https://a.test', '{"keys": [{"kty": "oct", "alg": "HS256", "kid": "k1", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}', 'a:', name_claim => 'name', labels_claims => '{"country": "country"}');
SELECT scoreboard_set_issuer('https://b.test', '{"keys": [{"kty": "oct", "alg": "HS256", "k": "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}', 'b:');
SELECT scoreboard_increment_for('p' || n, 'AWARD', 'first', points => n, idempotency_key => 'k', metadata => '{"n": 1.50}') FROM generate_series(1, 200) AS n;
SELECT scoreboard_increment_for('p' || n, 'AWARD', 'second', 'weekly', points => n % 7) FROM generate_series(1, 50) AS n;
SELECT scoreboard_increment_for('p11', 'RARE', 'rare', 'weekly');
SELECT scoreboard_increment_for('p12', 'AWARD', 'routed', 'region', points => 99);
SELECT scoreboard_set_profile('p1', E'Anna \U0001F600 "x" \\', 'https://img.test/a.png');
UPDATE scoreboard.player SET hidden = true WHERE user_id = 'p2';
UPDATE scoreboard.player SET state = 'banned' WHERE user_id = 'p3';
UPDATE scoreboard.player SET state = 'frozen' WHERE user_id = 'p4';
INSERT INTO scoreboard.adjustment (reference, kind, reason) VALUES ('r', 'note', 'kept');
SELECT scoreboard_import('weekly', '{p61,p60}', '{77,78}', 'r-weekly');
SELECT scoreboard_set_label_boards('weekly', 'country', '{de,fr}');
SELECT scoreboard_set_labels('p13', '{"country": "de"}');
SELECT scoreboard_increment_for('p13', 'AWARD', 'labelled', 'weekly', points => 5);
SELECT scoreboard_forget('p200', reference => 'r-forgotten');
SELECT scoreboard_adjust('p150', 'global', -1, 'a mistake', 'r-150');
INSERT INTO scoreboard.season VALUES (1, 0, now(), now(), 7, 3, '{}', true);
-- Boards whose seasons the publisher records
INSERT INTO scoreboard.board (name, period) VALUES ('monthly', 'month'), ('rounds', 'reset');
SELECT scoreboard_increment_for('p14', 'AWARD', 'in round 1', 'rounds', points => 5);
SELECT scoreboard_reset_season('rounds');
SELECT scoreboard_increment_for('p14', 'AWARD', 'in round 2', 'rounds', points => 6), scoreboard_increment_for('p14', 'AWARD', 'this month', 'monthly', points => 6);
INSERT INTO scoreboard.baseline VALUES (1, 1, 'day', now(), now(), '{5,4,1}', '{1,2,3}');
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('GRANTED', 'grant', 1);
SELECT scoreboard_create_grant('p9', 'GRANTED', subscore => 7, detail => 'kept');
INSERT INTO scoreboard.flag (user_id, board_id, kind, reason) VALUES ('p5', 1, 'verifier', 'kept');
-- A verifier outlives the dump with its function, whose owner is known by name.
CREATE SCHEMA rules;
CREATE FUNCTION rules.verify(action jsonb) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT action ->> 'userId' <> 'p5' $$;
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('GIFT', 'trusted', 0);
SELECT scoreboard_set_verifier('GIFT', 'rules.verify(jsonb)', 0);
-- What was purged counts on; how long actions are kept is a setting.
SELECT scoreboard_increment_for('p70', 'AWARD', 'old', 'weekly', points => 3, subscore => 4, detail => 'kept');
UPDATE scoreboard.action SET created_at = created_at - interval '60 days' WHERE action_id = 'old';
SELECT scoreboard_set_retention('30 days', '7 days');
EOT
wait_until($node, 'game', q{NOT scoreboard.purge_due() AND EXISTS (SELECT FROM scoreboard.balance WHERE detail = 'kept')}, 'an old action was purged');
wait_for_list($node, 'game', 'global', '1 4 5');

# Every board that keeps versions keeps its list of now.
sub wait_for_kept
{
	my ($db) = @_;

	wait_until($node, $db, q{NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.keep_versions IS NOT NULL AND (SELECT json_agg(e ->> 'userId' ORDER BY n) FROM scoreboard_leaderboard_at(b.name, clock_timestamp()) d,
		json_array_elements(d -> 'entries') WITH ORDINALITY x (e, n))::text IS DISTINCT FROM (SELECT json_agg(t.user_id ORDER BY t.rank) FROM scoreboard_top(b.name, b.top_size) t)::text)}, "lists of $db are kept");
	return;
}
wait_for_kept('game');

# Boards as administrators leave them. What refers to something is bigger than that, so that a parallel restore begins with it.
my %boards = (
	'made again' => q{DELETE FROM scoreboard.board WHERE name = 'global'; INSERT INTO scoreboard.board (name, score_order) VALUES ('global', 'low')},
	'renamed' => q{UPDATE scoreboard.board SET name = 'everybody', keep_versions = '1 day' WHERE name = 'global'; INSERT INTO scoreboard.board (name, operator) VALUES ('global', 'best')},
	'deleted' => q{DELETE FROM scoreboard.board WHERE name = 'global'; INSERT INTO scoreboard.board (name) VALUES ('weekly')},
	'none' => q{DELETE FROM scoreboard.board},
	'untouched' => q{SELECT});
foreach my $what (sort keys %boards)
{
	create_database($node, $what);
	$node->safe_psql($what, <<"EOT");
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) SELECT 'AWARD' || n, 'trusted', 0, 1000 FROM generate_series(1, 100) AS n;
SELECT scoreboard_increment_for('p' || n, 'AWARD1', 'before', points => n) FROM generate_series(1, 100) AS n;
$boards{$what};
UPDATE scoreboard.board SET counts_towards = ARRAY(SELECT o.board_id FROM scoreboard.board o WHERE o.board_id > board.board_id);
SELECT scoreboard_increment_for('p' || n, 'AWARD1', name, name, points => n) FROM generate_series(1, 100) AS n, scoreboard.board;
INSERT INTO scoreboard.action_rule (board_id, action_type_id, points) SELECT board_id, action_type_id, 1 FROM scoreboard.board, scoreboard.action_type;
SELECT scoreboard_set_issuer('https://' || i, json_build_object('keys', (SELECT json_agg(json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'k' || n, 'k', 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8')) FROM generate_series(1, 20) AS n))::text, i || ':')
	FROM generate_series(1, 3) AS i;
EOT
}

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
wait_until($node, 'game', q{(SELECT count(*) FILTER (WHERE final) = 2 AND count(*) = 4 FROM scoreboard.season)}, 'seasons are recorded, and those that ended are final');
wait_until($node, 'game', 'NOT EXISTS (SELECT FROM scoreboard.profile_change)', 'and new names are looked after');
my $before = $node->safe_psql('game', $all_rows);
my $rights_before = $node->safe_psql('game', $rights);
my $version = version($node, 'game', 'global');
my $kept = q{SELECT count(*) FROM scoreboard.kept_version JOIN scoreboard.board USING (board_id) WHERE name = 'weekly'};
my $kept_before = $node->safe_psql('game', $kept);
my $moment = $node->safe_psql('game', 'SELECT clock_timestamp()');
my $past = "SELECT scoreboard_leaderboard_at('weekly', '$moment')";
my $past_before = $node->safe_psql('game', $past);
like($past_before, qr/"userId":"p60"/, 'a list was kept');
like($before, qr/^scoreboard\.player_player_id_seq 200 true$/m, 'there is something to compare');

# The same without what an attempt to restore moves: sequences are set, as by any dump
my $rows_alone = $all_rows =~ s/WHERE e\.extname/WHERE c.relkind = 'r' AND e.extname/r;

my $directory = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-h', $host, '-p', $port, '-Fp', '-f', "$directory/plain", 'game' ], 'pg_dump, plain');
$node->command_ok([ 'pg_dump', '-h', $host, '-p', $port, '-Fc', '-f', "$directory/custom", 'game' ], 'pg_dump, custom');

my @connection = ('-h', $host, '-p', $port);
my $restore_errors = '';

# Both are true where all went well. A psql that isn't told to stop goes on with the next table.
sub psql_file
{
	my ($file, $db, $stop) = @_;
	my ($output, $errors) = ('', '');
	my $ok = IPC::Run::run([ 'psql', @connection, '-X', '-q', '-v', "ON_ERROR_STOP=$stop", '-f', $file, '-d', $db ], '>', \$output, '2>', \$errors);

	$restore_errors .= $errors;
	return $ok && $errors !~ /ERROR/;
}

sub pg_restore
{
	my ($file, $db, $stop, @options) = @_;
	my ($output, $errors) = ('', '');
	my $ok = IPC::Run::run([ 'pg_restore', @connection, @options, $stop ? '--exit-on-error' : (), '-d', $db, $file ], '>', \$output, '2>', \$errors);

	diag($errors) if $stop && !$ok;
	$restore_errors .= $errors;
	return $ok;
}

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
	cmp_ok(wait_for_list($node, $db, 'global', '1 4 5'), '>', 0, "$how: the list is the same");
	is($node->safe_psql($db, q{SELECT replayed, score FROM scoreboard_increment_for('p9', 'AWARD', 'first', points => 9, idempotency_key => 'k', metadata => '{"n": 1.5}')}),
		't|9', "$how: a retry is answered from the log");
	is($node->safe_psql($db, q{SELECT score, replayed FROM scoreboard_adjust('p150', 'global', -1, 'a mistake', 'r-150')}), '149|t', "$how: so is a correction");
	is($node->safe_psql($db, q{SELECT players, replayed FROM scoreboard_import('weekly', '{p61,p60}', '{77,78}', 'r-weekly')}), '2|t', "$how: and an import");
	(undef, undef, my $forgotten) = $node->psql($db, q{SELECT scoreboard_increment_for('p200', 'AWARD', 'again', 'weekly', points => 3)});
	like($forgotten, qr/the player is suspended/, "$how: who was forgotten doesn't come back");
	is($node->safe_psql($db, q{SELECT mode, replayed FROM scoreboard_forget('p200', reference => 'r-forgotten')}), 'erase|t', "$how: and was forgotten once");
	is($node->safe_psql($db, q{SET client_min_messages = error; SELECT * FROM scoreboard_verify() WHERE user_id IS NOT NULL}), '', "$how: nothing differs");
	my ($status, $output, $errors) = $node->psql($db, q{SELECT scoreboard_increment_for('p9', 'AWARD', 'first', points => 9)});
	like($errors, qr/counted already/, "$how: a duplicate is refused");
	($status, $output, $errors) = $node->psql($db, q{SELECT scoreboard_increment_for('p4', 'AWARD', 'new', points => 9)});
	like($errors, qr/suspended/, "$how: the frozen stay frozen");
	($status, $output, $errors) = $node->psql($db, q{SELECT scoreboard_increment_for('p5', 'GIFT', 'gift')});
	like($errors, qr/was not verified/, "$how: flags and verifiers hold");
	($status, $output, $errors) = $node->psql($db, q{SELECT scoreboard_increment_for('p11', 'RARE', 'again', 'weekly')});
	like($errors, qr/quota of action type "RARE" on board "weekly" is used up: 1 an hour/, "$how: quotas hold what was used");
	is($node->safe_psql($db, q{SELECT previous_score, score FROM scoreboard_increment_for('p9', 'AWARD', 'third', points => -2)}),
		'9|-2', "$how: counting goes on");
	is($node->safe_psql($db, q{SELECT score FROM scoreboard_increment_for('new', 'AWARD', 'first', points => 50);
			SELECT player_id FROM scoreboard.player WHERE user_id = 'new';
			INSERT INTO scoreboard.board (name) VALUES ('new') RETURNING board_id}),
		"50\n201\n9", "$how: ids go on");
	cmp_ok(wait_for_list($node, $db, 'global', '-2 1 4'), '>', 0, "$how: the change is published");
	is($node->safe_psql($db, $past), $past_before, "$how: lists that were kept stand in the past");
	$node->safe_psql($db, q{SELECT scoreboard_increment_for('new', 'AWARD', 'weekly', 'weekly', points => 100)});
	wait_for_kept($db);
	is($node->safe_psql($db, $kept), $kept_before + 1, "$how: a list of now is added only where it is another one");
}
is($node->safe_psql('game', $all_rows), $before, 'the old database was not touched');

# Every way to restore, of every state that the boards can be in.
my %ways = (
	'plain' => { dump => ['-Fp'], restore => \&psql_file },
	'INSERTs' => { dump => [ '-Fp', '--inserts' ], restore => \&psql_file },
	'custom' => { dump => ['-Fc'], restore => \&pg_restore },
	'4 jobs' => { dump => ['-Fc'], restore => \&pg_restore, options => [ '-j', 4 ], times => 3 },
	'a directory by 4 jobs' => { dump => [ '-Fd', '-j', 4 ], restore => \&pg_restore, options => [ '-j', 4 ] },
	'data only' => { dump => [ '-Fp', '--data-only' ], restore => \&psql_file, extension => 1 },
	'data only, 4 jobs' => { dump => ['-Fc'], restore => \&pg_restore, options => [ '--data-only', '-j', 4 ], extension => 1 });
# A database that has boards, players and scores of its own, its board as the installation made it
create_database($node, 'used');
$node->safe_psql('used', <<'EOT');
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('OWN', 'trusted', 0, 1000);
SELECT scoreboard_increment_for('own' || n, 'OWN', 'first', points => n) FROM generate_series(1, 5) AS n;
-- Ids that no dump below has
SELECT setval('scoreboard.player_player_id_seq', 1000);
SELECT scoreboard_increment_for('far', 'OWN', 'first', points => 77);
DELETE FROM scoreboard.score WHERE player_id < 1000;
DELETE FROM scoreboard.action WHERE player_id < 1000;
DELETE FROM scoreboard.player WHERE player_id < 1000;
EOT
my $used_before = $node->safe_psql('used', $rows_alone);
# One whose only trace of use is a score
create_database($node, 'scored');
$node->safe_psql('scored', q{INSERT INTO scoreboard.score VALUES (1, 1, 1000, 5, now())});
my $scored_before = $node->safe_psql('scored', $rows_alone);

foreach my $what (sort keys %boards)
{
	# Without a board there is no INSERT that could show its absence.
	my @ways = grep { $what ne 'none' || $_ ne 'INSERTs' } sort keys %ways;
	wait_for_kept($what);
	my $rows = $node->safe_psql($what, $all_rows);

	foreach my $how (@ways)
	{
		my $way = $ways{$how};
		my $file = "$directory/$what $how";

		$node->command_ok([ 'pg_dump', @connection, @{ $way->{dump} }, '-f', $file, $what ], "boards $what, $how: dumped");
		foreach my $time (1 .. $way->{times} // 1)
		{
			$node->safe_psql('postgres', q{CREATE DATABASE restored TEMPLATE template0});
			$node->safe_psql('restored', 'CREATE EXTENSION scoreboard CASCADE') if $way->{extension};
			ok($way->{restore}->($file, 'restored', 1, @{ $way->{options} // [] }), "boards $what, $how: restored");
			is($node->safe_psql('restored', $all_rows), $rows, "boards $what, $how: every row and sequence is there");
			$node->safe_psql('postgres', 'DROP DATABASE restored WITH (FORCE)');
		}
		next unless $what eq 'made again' || $what eq 'untouched';
		foreach my $target ([ 'used', $used_before ], [ 'scored', $scored_before ])
		{
			ok(!$way->{restore}->($file, $target->[0], 0, @{ $way->{options} // [] }), "boards $what, $how: not restored over what is there");
			is($node->safe_psql($target->[0], $rows_alone), $target->[1], "boards $what, $how: nothing of it is lost, nothing mixed in");
		}
	}
}
like($restore_errors, qr/ERROR:  table scoreboard\.board can't be restored into an extension that has been used\n.*?DETAIL:  Table scoreboard\.\w+ has rows\.\n.*?HINT:  Restore into a new database\./s,
	'the error says what to do');

# The schema alone: an extension as it is installed, and no secret
$node->command_ok([ 'pg_dump', @connection, '--schema-only', '-f', "$directory/schema", 'game' ], 'schema only: dumped');
unlike(slurp_file("$directory/schema"), qr/^(COPY|INSERT) |AAECAwQF/m, 'schema only: no rows');
$node->safe_psql('postgres', q{CREATE DATABASE restored TEMPLATE template0});
ok(psql_file("$directory/schema", 'restored', 1), 'schema only: restored');
wait_for_version($node, 'restored', 'global', 1);
is($node->safe_psql('restored', q{SELECT count(*) FROM scoreboard_top()}), '0', 'schema only: it works');

# Columns that somebody has added are not in a dump, their values are: they have to be made before the rows come, as README.md says.
my $more_columns = q{ALTER TABLE scoreboard.score ADD COLUMN note text DEFAULT 'of ours'; ALTER TABLE scoreboard.action ADD COLUMN note integer};
$node->safe_psql('game', $more_columns);
$node->safe_psql('game', q{UPDATE scoreboard.action SET note = player_id; SELECT scoreboard_increment_for('p8', 'AWARD', 'noted', points => 1)});
my $noted = $node->safe_psql('game', $all_rows);
$node->command_ok([ 'pg_dump', @connection, '-Fc', '-f', "$directory/noted", 'game' ], 'more columns: dumped');
foreach my $made (0, 1)
{
	$node->safe_psql('postgres', q{DROP DATABASE restored WITH (FORCE)});
	$node->safe_psql('postgres', q{CREATE DATABASE restored TEMPLATE template0});
	ok(pg_restore("$directory/noted", 'restored', 1, '--section=pre-data'), 'more columns: the extension is there');
	$node->safe_psql('restored', $more_columns) if $made;
	is(pg_restore("$directory/noted", 'restored', $made, '-j', 4, '--section=data', '--section=post-data') ? 1 : 0, $made, 'more columns: restored where they were made before, and only there');
}
is($node->safe_psql('restored', $all_rows), $noted, 'more columns: every row is there');

# In place of foreign keys
my $db = 'untouched';
foreach my $case (
	[ q{INSERT INTO scoreboard.action_rule (board_id, action_type_id) VALUES (77, 1)}, qr/no row of scoreboard\.board with board_id 77/ ],
	[ q{INSERT INTO scoreboard.action_rule (board_id, action_type_id) VALUES (1, 7777)}, qr/no row of scoreboard\.action_type with action_type_id 7777/ ],
	[ q{UPDATE scoreboard.action_rule SET action_type_id = 7777 WHERE action_type_id = 1}, qr/no row of scoreboard\.action_type with action_type_id 7777/ ],
	[ q{INSERT INTO scoreboard.jwt_key VALUES ('https://nobody', 1, 'k', 'HS256', 'secret')}, qr/no row of scoreboard\.jwt_issuer with issuer https:\/\/nobody/ ],
	[ q{UPDATE scoreboard.action_type SET action_type_id = 7777 WHERE action_type_id = 1}, qr/action_type_id of table scoreboard\.action_type can't be changed/ ],
	[ q{UPDATE scoreboard.jwt_issuer SET issuer = 'x', user_id_prefix = 'x:' WHERE issuer = 'https://1'}, qr/issuer of table scoreboard\.jwt_issuer can't be changed/ ])
{
	my ($status, $output, $errors) = $node->psql($db, $case->[0]);
	like($errors, $case->[1], "refused: $case->[0]");
	unlike($errors, qr/secret/, 'the error prints no secret');
}
is($node->safe_psql($db, q{DELETE FROM scoreboard.action_type WHERE action_type_id = 1; DELETE FROM scoreboard.jwt_issuer WHERE issuer = 'https://1';
		SELECT (SELECT count(*) FROM scoreboard.action_rule), (SELECT count(*) FROM scoreboard.jwt_key)}), '99|40', 'what refers to a row goes with it');
is($node->safe_psql($db, q{TRUNCATE scoreboard.board, scoreboard.jwt_issuer;
		SELECT (SELECT count(*) FROM scoreboard.action_rule), (SELECT count(*) FROM scoreboard.jwt_key)}), '0|0', 'also when all go');

$node->stop;
done_testing();
