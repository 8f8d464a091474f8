-- Who may see a board: one rule for every read, whatever is asked and by whom.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name, title, visibility, permission) VALUES
    ('vis-open', 'Open', 'public', NULL), ('vis-token', 'Players', 'token', NULL), ('vis-club', 'Club', 'permission', 'club "A"');
-- A permission belongs to that visibility, and to no other.
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, visibility) VALUES ('vis-x', 'permission') RETURNING name$$);
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, visibility, permission) VALUES ('vis-x', 'token', 'p') RETURNING name$$);
SELECT sign.outcome($$INSERT INTO scoreboard.board (name, visibility) VALUES ('vis-x', 'secret') RETURNING name$$);
INSERT INTO scoreboard.player (player_id, user_id, display_name) VALUES (991001, 'vis-ada', 'Ada'), (991002, 'vis-bob', NULL);
INSERT INTO scoreboard.score (board_id, season, player_id, score, reached_at)
    SELECT board_id, 1, p, p % 10, '2026-01-01' FROM scoreboard.board, (VALUES (991001), (991002)) AS v (p) WHERE name LIKE 'vis-%';
SELECT sign.wait_for_ranks();
DO $$
BEGIN
    FOR round IN 1..3000 LOOP
        EXIT WHEN (SELECT count(*) FROM scoreboard.top t WHERE t.board LIKE 'vis-%' AND t.players = 2) = 3;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

-- What each read answers to whom, on each board.
CREATE TABLE pg_temp.read (n int, name text, call text);
INSERT INTO pg_temp.read VALUES
    (1, 'top', $$SELECT count(*) FROM scoreboard_top(%1$L, token => %2$L)$$),
    (2, 'leaderboard', $$SELECT json_array_length(scoreboard_leaderboard(%1$L, token => %2$L) -> 'entries') AS count$$),
    (3, 'rank', $$SELECT scoreboard_rank('vis-ada', %1$L, token => %2$L) ->> 'players' AS count$$),
    (4, 'me', $$SELECT scoreboard_me(%1$L, token => %2$L) ->> 'players' AS count$$),
    (5, 'around', $$SELECT count(*) FROM scoreboard_around('vis-ada', %1$L, token => %2$L)$$),
    (6, 'ranks', $$SELECT count(*) FROM scoreboard_ranks('{vis-ada,vis-bob}', %1$L, token => %2$L)$$),
    (7, 'view', $$SELECT scoreboard_view(%1$L, token => %2$L) ->> 'players' AS count$$),
    (8, 'history', $$SELECT 2 + count(*) AS count FROM scoreboard_history(%1$L, token => %2$L)$$),
    (9, 'boards', $$SELECT 1 + count(*) AS count FROM scoreboard_boards(%2$L) WHERE board = %1$L$$);
CREATE FUNCTION pg_temp.asked(board text, token text) RETURNS TABLE (read text, outcome text) LANGUAGE sql AS $$
    SELECT name, sign.outcome(format(call, board, token)) FROM pg_temp.read ORDER BY n
$$;
CREATE TABLE pg_temp.caller (n int, who text, token text);
INSERT INTO pg_temp.caller VALUES (1, 'nobody', NULL), (2, 'a player', sign.token('vis-ada')), (3, 'of a club', sign.token('vis-ada', '{"permissions": ["x", "club \"A\""]}')),
    (4, 'of another club', sign.token('vis-ada', '{"permissions": ["club", "club \"B\"", ""]}')), (5, 'a forger', sign.token('vis-ada') || 'x');
SELECT b.name AS board, c.who, string_agg(a.read, ' ' ORDER BY a.read COLLATE "C") AS reads, a.outcome
    FROM scoreboard.board b, pg_temp.caller c, pg_temp.asked(b.name, c.token) a WHERE b.name LIKE 'vis-%' GROUP BY b.name, c.n, c.who, a.outcome ORDER BY b.name, c.n, a.outcome COLLATE "C";

-- The board before the season and the player; the token before the board.
SELECT sign.outcome($$SELECT scoreboard_rank('vis-nobody', 'vis-token')$$);
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_top('vis-token', season => 7)$$);
SELECT sign.outcome(format($$SELECT count(*) FROM scoreboard_top('vis-token', season => 7, token => %L)$$, sign.token('vis-bob')));
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_top('vis-token', token => 'x')$$);

-- The claims of a request are believed where the role that logged in is trusted.
SELECT set_config('request.jwt.claims', '{"iss":"https://id.test","sub":"vis-bob","exp":' || extract(epoch FROM now())::bigint + 300 || ',"permissions":["club \"A\""]}', false) IS NOT NULL AS set;
SELECT a.outcome, count(*) FROM pg_temp.asked('vis-club', NULL) a GROUP BY 1;
SELECT format('SET scoreboard.trusted_request_roles = %I', session_user) AS trust \gset
:trust;
SELECT a.outcome, count(*) FROM pg_temp.asked('vis-club', NULL) a GROUP BY 1;
SELECT a.outcome, count(*) FROM pg_temp.asked('vis-token', NULL) a GROUP BY 1;
RESET request.jwt.claims;
RESET scoreboard.trusted_request_roles;

-- A change takes hold at once, also in the middle of a transaction.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM scoreboard_top('vis-open');
UPDATE scoreboard.board SET visibility = 'token' WHERE name = 'vis-open';
SELECT sign.outcome($$SELECT count(*) FROM scoreboard_top('vis-open')$$);
ROLLBACK;
SELECT count(*) FROM scoreboard_top('vis-open');

-- Gateways get every board's document, and what they have to know of it; another setting is another stamp, another list too.
SELECT board, top_size, visibility, stamp LIKE version || '.%' AS stamp FROM scoreboard_documents() WHERE board LIKE 'vis-%';
SELECT json_object_agg(board, stamp) AS known FROM scoreboard_documents() \gset
SELECT count(*) FROM scoreboard_documents(:'known');
UPDATE scoreboard.board SET permission = 'other' WHERE name = 'vis-club';
UPDATE scoreboard.board SET visibility = 'token' WHERE name = 'vis-open';
UPDATE scoreboard.board SET visibility = 'public' WHERE name = 'vis-token';
SELECT board, visibility FROM scoreboard_documents(:'known');
SELECT board, visibility FROM scoreboard.documents(:'known');

-- Where the table's own rules are gone, what isn't known is shown to nobody.
ALTER TABLE scoreboard.board DROP CONSTRAINT board_visibility_check, DROP CONSTRAINT board_check;
UPDATE scoreboard.board SET visibility = 'Public' WHERE name = 'vis-open';
UPDATE scoreboard.board SET permission = NULL WHERE name = 'vis-club';
SELECT b.name, sign.outcome(format($$SELECT count(*) FROM scoreboard_top(%L, token => %L)$$, b.name, c.token)) FROM scoreboard.board b, pg_temp.caller c WHERE b.name IN ('vis-open', 'vis-club') AND c.n = 3 ORDER BY 1;
UPDATE scoreboard.board SET visibility = 'public' WHERE name LIKE 'vis-%';
ALTER TABLE scoreboard.board ADD CONSTRAINT board_visibility_check CHECK (visibility IN ('public', 'token', 'permission')), ADD CONSTRAINT board_check CHECK ((permission IS NOT NULL) = (visibility = 'permission'));

DELETE FROM scoreboard.score WHERE player_id IN (991001, 991002);
DELETE FROM scoreboard.player WHERE player_id IN (991001, 991002);
DELETE FROM scoreboard.board WHERE name LIKE 'vis-%';
