-- scoreboard.standings: where many players stand, as each of them is told. Who stands in no list is told to nobody without its pass.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set ECHO all
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
INSERT INTO scoreboard.board (name, visibility, ties) VALUES ('standings', 'token', 'shared'), ('standings-none', 'public', 'first');
SELECT count(*) FROM generate_series(1, 30) n, scoreboard_increment_for('stand-' || n, 'AWARD', 'first', 'standings', points => n / 2) r;
SELECT scoreboard_hide('stand-5'), scoreboard_ban('stand-6'), scoreboard_freeze('stand-7');
SELECT scoreboard_set_profile('stand-new', 'No score yet');
SELECT sign.wait_for_ranks();
SELECT * FROM scoreboard.standings('standings', ARRAY['stand-30', 'stand-1', 'stand-5', 'stand-6', 'stand-7', 'stand-new', 'stand-nobody', 'stand-29', 'stand-30']) ORDER BY user_id;
-- The same as each would be told by itself, by passes that authentication gave.
SELECT array_agg(a.pass ORDER BY n) AS passes FROM generate_series(1, 30) n, scoreboard.authenticate(sign.token('stand-' || n)) a \gset
SELECT s.user_id, s.score, s.rank, m FROM scoreboard.standings('standings', ARRAY(SELECT 'stand-' || n FROM generate_series(1, 30) n), :'passes') s,
    LATERAL (SELECT scoreboard_me('standings', token => sign.token(s.user_id)) AS m) t
    WHERE (m ->> 'score', m ->> 'rank', m ->> 'players', m ->> 'season') IS DISTINCT FROM (s.score::text, s.rank::text, s.players::text, s.season::text);
-- A hidden player's own pass, whatever token or ticket it came by; each that is none, or another's, or over, or was altered at any place.
CREATE FUNCTION pg_temp.told(pass text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', s.score, s.rank, s.players) FROM scoreboard.standings('standings', '{stand-5}', ARRAY[pass]) s $$;
SELECT a.pass AS own, floor(extract(epoch FROM a.expires_at))::bigint AS ends, a.pass ~ '^[0-9]{10}:[0-9a-f]{32}$' AS form FROM scoreboard.authenticate(sign.token('stand-5')) a \gset
SELECT :'form' AS form, pg_temp.told(:'own'), pg_temp.told(r.pass) AS by_ticket FROM scoreboard_create_ticket(sign.token('stand-5')) t, scoreboard.redeem_ticket(t.ticket) r;
SELECT what, pg_temp.told(pass) FROM (VALUES ('none', NULL), ('empty', ''), ('another player''s', (SELECT pass FROM scoreboard.authenticate(sign.token('stand-7')))),
    ('without its end', split_part(:'own', ':', 2)), ('of a later end', :ends + 1 || ':' || split_part(:'own', ':', 2)), ('with a sign', '+' || :'own'), ('with a zero before', '0' || :'own'),
    ('with a blank', :'own' || ' '), ('cut', left(:'own', -1)), ('in capitals', upper(:'own')), ('twice', :'own' || :'own'), ('long', :'own' || repeat('f', 100000)),
    ('of no number', '99999999999999999999:' || split_part(:'own', ':', 2)), ('over', scoreboard.make_pass('stand-5', date_trunc('second', clock_timestamp()))),
    ('just made', scoreboard.make_pass('stand-5', clock_timestamp() + interval '1 minute'))) AS p(what, pass);
SELECT DISTINCT pg_temp.told(overlay(:'own' PLACING chr(ascii(substr(:'own', n, 1)) # 1) FROM n)) FROM generate_series(1, length(:'own')) n;
-- Each element has its own; the listed need none, and a wrong one harms nobody.
SELECT * FROM scoreboard.standings('standings', '{stand-5,stand-30,stand-6,stand-5}', ARRAY[NULL, 'none', scoreboard.make_pass('stand-6', now() + '1 h'), :'own']);
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', ''{stand-5,stand-6}'', ''{x}'')');
-- Shown again, it is listed without.
SELECT scoreboard_hide('stand-5', false);
SELECT pg_temp.told(NULL);
-- Another key, or none, as in a database that was restored: no pass of before is good.
SELECT scoreboard_hide('stand-5');
BEGIN;
UPDATE scoreboard.pass_key SET secret = scoreboard.random_secret();
SELECT pg_temp.told(:'own'), pg_temp.told(a.pass) AS anew FROM scoreboard.authenticate(sign.token('stand-5')) a;
DELETE FROM scoreboard.pass_key;
SELECT pg_temp.told(:'own'), a.user_id, a.pass FROM scoreboard.authenticate(sign.token('stand-5')) a;
ROLLBACK;
SELECT pg_temp.told(:'own');
-- Nobody, nothing, nowhere.
SELECT * FROM scoreboard.standings('standings', '{}');
SELECT * FROM scoreboard.standings('standings-none', '{stand-1,""}');
SELECT * FROM scoreboard.standings('nowhere', '{stand-1}');
SELECT * FROM scoreboard.standings(NULL, '{stand-1}');
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', NULL)');
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', ARRAY[''stand-1'', NULL])');
SELECT sign.outcome('SELECT scoreboard.standings(''standings'', array_fill(''x''::text, ARRAY[1001]))');
SELECT count(*) FROM scoreboard.standings('standings', array_fill('stand-30'::text, ARRAY[1000])) WHERE rank = 1;
-- What is committed, not what this transaction has done.
BEGIN;
SELECT score FROM scoreboard_increment_for('stand-1', 'AWARD', 'second', 'standings', points => 100);
SELECT score FROM scoreboard.standings('standings', '{stand-1}');
ROLLBACK;
DELETE FROM scoreboard.board WHERE name LIKE 'standings%';
