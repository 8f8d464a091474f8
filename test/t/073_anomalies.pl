# Players who are far from what is normal for their board are flagged: all that were planted among a thousand honest ones, none of these, and
# each once, until the flag is cleared. Boards that are too small, or whose players are all alike, say nothing. Who is flagged is frozen
# where that is set, by the worker, too.
# Needs the worker, and a log of many rows.
#
# Part of scoreboard; PostgreSQL licence, see LICENSE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ScoreboardTest;

my $node = new_node('anomalies', conf => "scoreboard.rate_limit = 0\nscoreboard.burst_limit = 0\nscoreboard.anomaly_interval = 0\n");
my $db = 'game';
create_database($node, $db);
sub sql { return $node->safe_psql($db, $_[0]); }

# Rows of the log as increments leave them: a thousand players on "global" whose rates and amounts are spread over orders of magnitude,
# the same on "low", where few points are good; the same all over on "equal"; twenty on "small", one of them wild.
sql(<<'EOT');
INSERT INTO scoreboard.board (name, score_order, operator) VALUES ('low', 'low', 'best'), ('equal', 'high', 'sum'), ('small', 'high', 'sum');
INSERT INTO scoreboard.action_type (name, proof, min_points, max_points) VALUES ('AWARD', 'trusted', 1, 1000000), ('LAP', 'trusted', 1, 1000000);
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('LEVEL', 'trusted', 100);
CREATE SEQUENCE action;
CREATE FUNCTION normal() RETURNS double precision LANGUAGE sql VOLATILE AS $$ SELECT sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) $$;
-- So many actions of that type by each of the players, of amounts around there, up to an hour ago
CREATE FUNCTION acted(names text[], board text, type text, actions double precision, amount double precision, spread double precision) RETURNS void LANGUAGE sql AS $$
	INSERT INTO scoreboard.player (user_id) SELECT unnest(names) ON CONFLICT DO NOTHING;
	INSERT INTO scoreboard.action (player_id, action_id, board_id, season, action_type_id, points, applied_points, previous_score, score, version, created_at)
	SELECT p.player_id, nextval('action')::text, b.board_id, 1, t.action_type_id, CASE WHEN t.points IS NULL THEN greatest(1, amount * exp(spread * normal() / 2)) END, 1, 0, 1, 1, clock_timestamp() - random() * interval '50 minutes'
	FROM scoreboard.player p, scoreboard.board b, scoreboard.action_type t, LATERAL generate_series(1, greatest(1, (actions * exp(spread * (normal() + 0 * p.player_id)))::int))
	WHERE p.user_id = ANY (names) AND b.name = board AND t.name = type
$$;
CREATE FUNCTION names(name text, count int) RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg(name || n) FROM generate_series(1, count) AS n $$;
SELECT setseed(0.11);
SELECT acted(names('p', 1000), 'global', 'AWARD', 8, 50, 0.7), acted(names('p', 700), 'global', 'LEVEL', 3, 0, 0.7), acted(names('p', 1000), 'low', 'LAP', 6, 60000, 0.4);
SELECT acted(names('p', 1000), 'equal', 'LEVEL', 5, 0, 0), acted(names('p', 1000), 'equal', 'AWARD', 5, 10, 0);
SELECT acted(names('s', 20), 'small', 'AWARD', 5, 10, 0.5);
-- Refusals as everybody has some
INSERT INTO scoreboard.refusal (code, user_id, board, message, refused_at)
	SELECT 'RATE_LIMITED', 'p' || n, 'global', '', clock_timestamp() - random() * interval '50 minutes' FROM generate_series(1, 1000) AS n, LATERAL generate_series(1, (exp(normal() + n * 0) - 1)::int) WHERE n % 3 = 0;
EOT
is(sql('SELECT scoreboard_watch()'), 0, 'nobody is flagged where all are honest');
is(sql('SELECT count(*) > 15000 FROM scoreboard.action'), 't', 'and there was enough to look at');

# The cheaters
sql(<<'EOT');
SELECT acted('{fast}', 'global', 'AWARD', 2000, 50, 0), acted('{rich}', 'global', 'AWARD', 8, 20000, 0), acted('{quick}', 'low', 'LAP', 6, 300, 0), acted('{slow}', 'low', 'LAP', 6, 900000, 0),
	acted('{often}', 'equal', 'LEVEL', 60, 0, 0), acted('{more}', 'equal', 'AWARD', 5, 200, 0), acted('{twice}', 'equal', 'AWARD', 10, 20, 0), acted('{wild}', 'small', 'AWARD', 2000, 900000, 0);
-- Once is no pattern
SELECT acted('{lucky}', 'global', 'AWARD', 1, 2000, 0);
INSERT INTO scoreboard.refusal (code, user_id, board, message, refused_at, repeats) SELECT 'INVALID_SIGNATURE', v.name, 'global', '', clock_timestamp(), v.repeats FROM (VALUES ('forger', 999), ('clumsy', 5)) AS v (name, repeats);
INSERT INTO scoreboard.refusal (code, user_id, board, message, refused_at, repeats) VALUES ('UNAVAILABLE', 'unlucky', 'global', '', clock_timestamp(), 999), ('INVALID_SIGNATURE', 'long ago', 'global', '', clock_timestamp() - interval '2 hours', 999);
EOT
my $standing = q{SELECT string_agg(concat_ws(' ', user_id, board, kind), ', ' ORDER BY user_id, kind) FROM scoreboard_flags()};
my $expected = 'fast global rate, forger global refusals, more equal points, often equal rate, quick low points, rich global points';
is(sql('SELECT scoreboard_watch()'), 6, 'the cheaters are found');
is(sql($standing), $expected, 'all of them, for what they did, and nobody else');
is(sql(q{SELECT value, median, mad, deviation > 6 FROM scoreboard_flags() WHERE user_id = 'more'}), '200|10|0|t', 'where all are equal, too');
is(sql('SELECT scoreboard_watch()'), 0, 'a flag that stands is not raised again');
is(sql($standing), $expected, 'and is there once');
is(sql(q{SELECT times FROM scoreboard_flags() WHERE user_id = 'fast'}), 2, 'but counted');
like(($node->psql($db, "SELECT * FROM scoreboard_flags(entries => $_)"))[2], qr/entries must be from 1 to 1000/, "no page of $_") foreach '0', '1001', 'NULL';
is(sql(q{SELECT scoreboard_clear_flag(flag_id) FROM scoreboard_flags() WHERE user_id = 'fast'; SELECT scoreboard_watch()}), "\n0", 'what was cleared is not raised again for the same actions');
is(sql(q{UPDATE scoreboard.flag SET cleared_at = cleared_at - interval '1 hour' WHERE user_id = 'fast'; SELECT scoreboard_watch()}), 1, 'but for new ones');
is(sql(q{SET scoreboard.anomaly_threshold = 1000; SELECT count(*) FROM scoreboard.anomalies(now() - interval '1 hour')}), 0, 'the threshold is a setting');
is(sql(q{SET scoreboard.anomaly_players = 10; SELECT string_agg(DISTINCT user_id, ' ') FROM scoreboard.anomalies(now() - interval '1 hour') WHERE board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'small')}), 'wild', 'so is how small a board may be');
is(sql(q{SET scoreboard.anomaly_events = 1001; SELECT string_agg(DISTINCT kind, ' ') FROM scoreboard.anomalies(now() - interval '1 hour') WHERE user_id IN ('forger', 'often', 'rich')}), 'points', 'so is how many are a pattern');
is(sql(q{SET scoreboard.anomaly_window = '1s'; SELECT count(*) FROM scoreboard.flag f, scoreboard.watch() AS w WHERE w > 0}), 0, 'so is the window');
is(sql(q{SELECT count(*) FROM scoreboard.player WHERE state <> 'active'}), 0, 'nobody is frozen where that is not set');

# Frozen, with a record; nobody twice for one flag, and nobody lifted out of a ban
sql(q{UPDATE scoreboard.flag SET cleared_at = now() - interval '2 hours' WHERE cleared_at IS NULL; SELECT scoreboard_ban('rich'); SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch()});
is(sql(q{SELECT string_agg(user_id || ' ' || state, ', ' ORDER BY user_id) FROM scoreboard.player WHERE state <> 'active'}), 'fast frozen, more frozen, often frozen, quick frozen, rich banned', 'who is flagged is frozen');
is(sql(q{SELECT reason ~ '^rate far from normal: 2000\.00, median \d+\.\d\d \(flag \d+\)$', reference ~ '^flag \d+$' FROM scoreboard.adjustment JOIN scoreboard.player USING (player_id) WHERE user_id = 'fast' AND kind = 'freeze'}), 't|t', 'with a record of why');
is(sql(q{SELECT scoreboard_restore('fast'); SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch(); SELECT state FROM scoreboard.player WHERE user_id = 'fast'}), "\n0\nactive", 'who is restored stays so while the flag stands');

# Who is far in two ways has two flags, and is frozen once.
sql(q{SELECT acted('{both}', 'global', 'AWARD', 2000, 90000, 0); SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch(); SELECT scoreboard_restore('both'); SELECT scoreboard_watch()});
is(sql(q{SELECT count(*), min(state) FROM scoreboard_flags() JOIN scoreboard.player USING (user_id) WHERE user_id = 'both'}), '2|active', 'who is restored stays so while two flags stand');
sql(q{SELECT scoreboard_clear_flag(flag_id) FROM scoreboard_flags() WHERE user_id = 'both'; DELETE FROM scoreboard.action WHERE player_id = (SELECT player_id FROM scoreboard.player WHERE user_id = 'both')});

# Some bring accounts of their own that do next to nothing, so that the five who play are far from what is normal: they are flagged, and not
# frozen while that are too many to be an exception. Who is suspended doesn't count, neither for what is normal nor among those who are far.
my $frozen = q{SELECT count(*) FROM scoreboard.player WHERE user_id LIKE 'honest%' AND state = 'frozen'};
sql(q{INSERT INTO scoreboard.board (name) VALUES ('few'); SELECT acted(names('own', 26), 'few', 'AWARD', 1, 1, 0), acted(names('honest', 5), 'few', 'AWARD', 30, 50, 0.1)});
sql(q{SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch()});
is(sql(q{SELECT string_agg(DISTINCT user_id, ' ' ORDER BY user_id) FROM scoreboard_flags('few')}), 'honest1 honest2 honest3 honest4 honest5', 'who plays where most accounts do nothing is flagged');
is(sql($frozen), 0, 'and not frozen: so many are no exception');
sql(q{SELECT scoreboard_ban(u) FROM unnest(names('own', 20)) u});
is(sql(q{SELECT count(*) FROM scoreboard.anomalies(now() - interval '1 hour') a JOIN scoreboard.board b USING (board_id) WHERE b.name = 'few'}), 0, 'whose accounts are banned decides nothing any more');
sql(q{SELECT acted(names('calm', 90), 'few', 'AWARD', 1, 1, 0); SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch()});
is(sql($frozen), 5, 'five of a hundred are an exception: frozen for the flags that stand');
sql(q{SELECT scoreboard_restore(names) FROM unnest(names('honest', 5)) AS names; SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch()});
is(sql($frozen), 0, 'who is restored stays so');
sql(q{DELETE FROM scoreboard.flag WHERE user_id LIKE 'honest%'; DELETE FROM scoreboard.action WHERE board_id = (SELECT board_id FROM scoreboard.board WHERE name = 'few'); DELETE FROM scoreboard.player WHERE user_id ~ '^(own|honest|calm)'});

# A reference that somebody has used for something else holds nobody up.
sql(q{UPDATE scoreboard.flag SET cleared_at = now() - interval '2 hours' WHERE cleared_at IS NULL});
sql(q{SELECT scoreboard_restore(user_id) FROM scoreboard.player WHERE state = 'frozen'});
sql(q{SELECT scoreboard_hide('fast', false, reference => format('flag %s', last_value + n)) FROM scoreboard.flag_flag_id_seq, generate_series(1, 20) AS n});
sql(q{SET scoreboard.anomaly_freeze = on; SELECT scoreboard_watch()});
is(sql(q{SELECT string_agg(user_id || ' ' || state, ', ' ORDER BY user_id) FROM scoreboard.player WHERE state <> 'active'}), 'fast frozen, more frozen, often frozen, quick frozen, rich banned', 'all are frozen where their references are taken');
sql(q{SELECT scoreboard_restore('fast')});

# The worker does it by itself, while a session sits on the player.
sql(q{ALTER SYSTEM SET scoreboard.moderation_wait = '100ms'; ALTER SYSTEM SET scoreboard.anomaly_freeze = on});
sql(q{UPDATE scoreboard.flag SET cleared_at = now() - interval '2 hours' WHERE user_id = 'fast' AND cleared_at IS NULL});
my $holder = $node->background_psql($db, on_error_stop => 0);
$holder->query_safe(q{BEGIN; SELECT score FROM scoreboard_increment_for('fast', 'LEVEL', 'held')});
sql(q{ALTER SYSTEM SET scoreboard.anomaly_interval = '1s'});
sql('SELECT pg_reload_conf()');
wait_until($node, $db, q{(SELECT state = 'frozen' FROM scoreboard.player WHERE user_id = 'fast')}, 'the worker freezes');
is(sql(q{SELECT state FROM scoreboard.player WHERE user_id = 'fast'}), 'frozen', 'the worker flags and freezes');
eval { $holder->quit };
my $seen = sql(q{SELECT max(times) FROM scoreboard.flag WHERE cleared_at IS NULL});
wait_until($node, $db, qq{(SELECT max(times) > $seen FROM scoreboard.flag WHERE cleared_at IS NULL)}, 'it looks again');
cmp_ok(sql(q{SELECT max(times) FROM scoreboard.flag WHERE cleared_at IS NULL}), '>', $seen, 'again and again');
# A player whom an administrator's open transaction holds keeps nobody else from being frozen, and is when that has ended.
my $moderator = $node->background_psql($db, on_error_stop => 0);
sql(q{SELECT scoreboard_restore('often'), scoreboard_restore('quick')});
$moderator->query_safe(q{BEGIN; SELECT scoreboard_hide('often', false)});
sql(q{UPDATE scoreboard.flag SET cleared_at = now() - interval '2 hours' WHERE cleared_at IS NULL AND user_id IN ('often', 'quick')});
wait_until($node, $db, q{(SELECT state = 'frozen' FROM scoreboard.player WHERE user_id = 'quick')}, 'the next one is frozen');
is(sql(q{SELECT flag_id < (SELECT flag_id FROM scoreboard_flags() WHERE user_id = 'quick') FROM scoreboard_flags() WHERE user_id = 'often'}), 't', 'who is flagged behind a player that is held is frozen');
$moderator->query_safe('COMMIT');
wait_until($node, $db, q{(SELECT frozen_at IS NOT NULL FROM scoreboard.flag WHERE user_id = 'often' AND cleared_at IS NULL)}, 'the first one is frozen, too');
is(sql(q{SELECT state FROM scoreboard.player WHERE user_id = 'often'}), 'frozen', 'who was held is frozen then');
$moderator->quit;

sql('DROP EXTENSION scoreboard CASCADE');
is(sql(q{SELECT count(*) FROM pg_extension WHERE extname = 'scoreboard'}), 0, 'and holds up nobody who drops the extension');

$node->stop;
done_testing();
