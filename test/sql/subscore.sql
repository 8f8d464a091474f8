-- Subscore and detail: signed, vouched for, part of the content, recorded.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name) VALUES ('ss');
INSERT INTO scoreboard.action_type (name, proof, points) VALUES ('SS_SESSION', 'session', 1), ('SS_GRANT', 'grant', 1);
SELECT sign.wait_for_ranks();

-- As a client sends them, one or both
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'both', 'ss', subscore => 83, detail => 'Höhle 7 🏆 "3:25"') $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'subscore', 'ss', subscore => 0) $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'detail', 'ss', detail => repeat('d', 256)) $$);
SELECT sign.outcome($$ SELECT * FROM sign.increment('ss-ada', 'COMPLETE_LEVEL', 'none', 'ss') $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'AWARD', 'for', 'ss', 5, subscore => -9007199254740991, detail => 'by a server') $$);
SELECT p.user_id, a.action_id, a.subscore, left(a.detail, 20) AS detail, length(a.detail) FROM scoreboard.action a JOIN scoreboard.player p USING (player_id)
    WHERE p.user_id LIKE 'ss-%' ORDER BY 1, 2;

-- Refusals. Each of these is refused; none of them writes anything.
SELECT sign.written() AS before \gset
-- A call whose receipt signs these, sent with others.
CREATE FUNCTION pg_temp.sent(signed_subscore bigint, signed_detail text, subscore bigint, detail text, action_type text DEFAULT 'COMPLETE_LEVEL') RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, token => %L, subscore => %L, detail => %L)', action_type, 'new', 'ss', s,
        sign.receipt('ss-ada', action_type, 'new', 'ss', NULL, s, subscore => signed_subscore, detail => signed_detail), sign.token('ss-ada'), sent.subscore, sent.detail))
    FROM (SELECT sign.now()) AS t(s)
$$;
-- Their form
SELECT left(detail, 12) AS detail, pg_temp.sent(subscore, detail, subscore, detail) FROM (VALUES (1, 9007199254740992, NULL), (2, -9007199254740992, NULL), (3, 9223372036854775807, NULL),
    (4, NULL, ''), (5, NULL, ' '), (6, NULL, repeat('d', 257)), (7, NULL, repeat('ü', 129)), (8, NULL, E'a\tb'), (9, NULL, E'a\nb'), (10, NULL, U&'\0085'),
    (11, NULL, U&'a\202eb'), (12, NULL, U&'a\2066b')) AS t(n, subscore, detail) ORDER BY n;
-- What the receipt doesn't sign
SELECT n, pg_temp.sent(ss, sd, subscore, detail) FROM (VALUES (1, 1, NULL, 2, NULL), (2, NULL, NULL, 0, NULL), (3, 0, NULL, NULL, NULL), (4, NULL, 'a', NULL, 'b'), (5, NULL, NULL, NULL, 'a'),
    (6, NULL, 'a', NULL, NULL), (7, 1, 'a', NULL, 'a'), (8, 5, NULL, NULL, '5'), (9, NULL, 'a', NULL, 'a '), (10, NULL, 'a', NULL, 'A')) AS t(n, ss, sd, subscore, detail) ORDER BY n;
-- What nobody vouches for; a server that names the player does.
SELECT type, pg_temp.sent(NULL, NULL, subscore, detail, type) FROM (VALUES (1, 'SS_SESSION', 1, NULL), (2, 'SS_SESSION', NULL, 'a'), (3, 'SS_GRANT', 1, 'a'), (4, 'SS_GRANT', NULL, NULL), (5, 'SS_SESSION', NULL, NULL))
    AS t(n, type, subscore, detail) ORDER BY n;
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'SS_SESSION', 'new', 'ss', subscore => 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'COMPLETE_LEVEL', 'new', 'ss', subscore => 1) $$);
SELECT sign.outcome($$ SELECT * FROM scoreboard_increment_for('ss-bob', 'AWARD', 'new', 'ss', 5, detail => E'\u202e') $$);
SELECT sign.written() = :'before' AS unchanged;

-- A retry has the same ones.
CREATE FUNCTION pg_temp.retry(action_id text, subscore bigint, detail text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT * FROM sign.increment(%L, %L, %L, %L, NULL, %L, subscore => %L, detail => %L)', 'ss-cyd', 'COMPLETE_LEVEL', retry.action_id, 'ss', 'key', retry.subscore, retry.detail))
$$;
SELECT n, pg_temp.retry(id, subscore, detail) FROM (VALUES (1, 'both', 1, 'a'), (2, 'both', 1, 'a'), (3, 'both', 2, 'a'), (4, 'both', NULL, 'a'), (5, 'both', 1, 'b'), (6, 'both', 1, NULL), (7, 'both', NULL, NULL),
    (8, 'none', NULL, NULL), (9, 'none', NULL, NULL), (10, 'none', 0, NULL), (11, 'none', NULL, 'a')) AS t(n, id, subscore, detail) ORDER BY n;

-- In a batch: integers plainly written, texts; null is not given.
CREATE FUNCTION pg_temp.element(action_id text, members text, subscore bigint DEFAULT NULL, detail text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT format('{"actionType": "COMPLETE_LEVEL", "actionId": "%s", "board": "ss", "issuedAt": %s, "receipt": "%s", "token": "%s", %s}', action_id, s,
        sign.receipt('ss-dan', 'COMPLETE_LEVEL', action_id, 'ss', NULL, s, subscore => subscore, detail => detail), sign.token('ss-dan'), members) FROM (SELECT sign.now() AS s) AS t
$$;
SELECT r.ordinal, r.status, coalesce(r.body ->> 'score', r.body -> 'error' ->> 'message') AS answer FROM scoreboard_submit(format('[%s]', concat_ws(',',
    pg_temp.element('1', '"subscore": 7, "detail": "a\u00e9"', 7, 'aé'), pg_temp.element('2', '"subscore": null, "detail": null'), pg_temp.element('3', '"subscore": 7.0', 7), pg_temp.element('3', '"subscore": "7"', 7),
    pg_temp.element('3', '"subscore": 9007199254740992', 7), pg_temp.element('3', '"subscore": 9223372036854775808', 7), pg_temp.element('3', '"subscore": true', 7), pg_temp.element('3', '"detail": 7', NULL, '7'),
    pg_temp.element('3', '"detail": ""', NULL, ''), pg_temp.element('3', '"detail": {}', NULL, '{}'), pg_temp.element('3', '"detail": "a", "detail": "a"', NULL, 'a'), pg_temp.element('3', '"subscore": 7'),
    pg_temp.element('3', '"detail": "a\tb"', NULL, E'a\tb')))::json) AS r ORDER BY 1;
SELECT action_id, subscore, detail FROM scoreboard.action JOIN scoreboard.player USING (player_id) WHERE user_id = 'ss-dan' ORDER BY 1;
