-- A batch: an outcome for each element, in order; what one element holds harms no other.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (name) VALUES ('sub'), ('sub-other');
SELECT sign.wait_for_ranks();
-- An element that is right, with members replaced (null: taken away).
CREATE FUNCTION pg_temp.request(who text, action_id text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('actionType', coalesce(more ->> 'actionType', 'COMPLETE_LEVEL'), 'actionId', action_id, 'board', 'sub', 'issuedAt', s,
        'receipt', sign.receipt(who, coalesce(more ->> 'actionType', 'COMPLETE_LEVEL'), action_id, coalesce(more ->> 'board', 'sub'), (more ->> 'points')::bigint, s),
        'token', sign.token(who)) || more)::text FROM (SELECT sign.now() AS s) AS t
$$;
CREATE FUNCTION pg_temp.submit(VARIADIC elements text[]) RETURNS TABLE (n int, status int, retry int, answer text) LANGUAGE sql AS $$
    SELECT r.ordinal, r.status, r.retry_after, CASE WHEN r.status <> 200 THEN concat_ws(': ', r.body -> 'error' ->> 'code', r.body -> 'error' ->> 'message', r.body -> 'error' ->> 'requestId')
        ELSE format('%s %s %s+%s=%s%s', r.body ->> 'userId', r.body ->> 'board', r.body ->> 'previousScore', r.body ->> 'appliedPoints', r.body ->> 'score',
                    CASE WHEN (r.body ->> 'replayed')::boolean THEN ' replayed' END) END
    FROM scoreboard_submit(format('[%s]', array_to_string(elements, ','))::json) AS r
$$;
ALTER FUNCTION pg_temp.submit SET search_path = public;

-- The form of an answer and of an error
SELECT ordinal, status, retry_after, regexp_replace(regexp_replace(body::text, '"version":\d+', '"version":V'), '"updatedAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', '"updatedAt":T') AS body
    FROM scoreboard_submit(format('[%s,%s,{}]', pg_temp.request('sub-"q"', 'form'), pg_temp.request('sub-ada', 'form', '{"board": "none", "requestId": "req-1"}'))::json);
-- Outcomes in the order of the input, twins and several actions of one player among them
SELECT * FROM pg_temp.submit(pg_temp.request('sub-ada', 'a1'), pg_temp.request('sub-bob', 'b1'), pg_temp.request('sub-ada', 'a2'), pg_temp.request('sub-ada', 'a1'),
    pg_temp.request('sub-ada', 'a3', '{"idempotencyKey": "k"}'), pg_temp.request('sub-ada', 'a3', '{"idempotencyKey": "k"}'), pg_temp.request('sub-ada', 'a3', '{"idempotencyKey": "other"}'),
    pg_temp.request('sub-ada', 'a3', '{"idempotencyKey": "k", "metadata": {"a": 1}}'), pg_temp.request('sub-bob', 'b1'), pg_temp.request('sub-ada', 'a1', '{"board": "sub-other"}'),
    pg_temp.request('sub-ada', 'a4', '{"board": "sub-other"}'), pg_temp.request('sub-ada', 'a5', '{"actionType": "SCORE_RUN", "points": -30}'), pg_temp.request('sub-cyd', 'a5', '{"actionType": "SCORE_RUN", "points": -30}'));
-- What each refusal says, among neighbours that are counted
SELECT * FROM pg_temp.submit(pg_temp.request('sub-ok', '1'), pg_temp.request('sub-ada', 'r', '{"token": null}'), pg_temp.request('sub-ada', 'r', '{"token": ""}'), pg_temp.request('sub-ada', 'r', '{"receipt": null}'),
    pg_temp.request('sub-ada', 'r', jsonb_build_object('token', sign.token('sub-bob'))), pg_temp.request('sub-ada', 'r', '{"actionType": "NO_SUCH_TYPE"}'), pg_temp.request('sub-ada', 'r', '{"actionType": "AWARD", "points": 1}'),
    pg_temp.request('sub-ada', 'r', '{"actionType": "RETIRED"}'), pg_temp.request('sub-ada', 'r', '{"actionType": "SCORE_RUN", "points": 501}'), pg_temp.request('sub-ada', 'r', '{"points": 1}'),
    pg_temp.request('sub-ada', 'r', '{"board": "no-such-board"}'), pg_temp.request('sub-ada', 'r', '{"idempotencyKey": ""}'), pg_temp.request('sub-ada', 'r', '{"requestId": "a b"}'),
    pg_temp.request('sub-ada', 'r', '{"clientAddress": "nowhere"}'), pg_temp.request('sub-ada', 'r', '{"clientAddress": "10.0.0.0/8"}'), pg_temp.request('sub-ok', '2'));
-- Extras are stored with the action; unknown members are ignored.
SELECT * FROM pg_temp.submit(pg_temp.request('sub-dan', 'x1', '{"requestId": "req-9", "clientAddress": "192.0.2.7", "idempotencyKey": "k9", "metadata": {"n": 12.50}, "unknown": [1, {"a": null}], "replayed": true, "userId": "sub-ada"}'),
    pg_temp.request('sub-dan', 'x2', '{"clientAddress": "2001:db8::1", "metadata": {}}'));
SELECT a.action_id, a.request_id, a.client_address, a.idempotency_key, a.metadata FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id = 'sub-dan' ORDER BY 1;
-- A time in an answer is cut to milliseconds, never rounded up: it must not lie ahead of what happened.
CREATE TEMP TABLE answered AS SELECT r.body ->> 'updatedAt' AS updated_at, 'ms-' || r.ordinal AS action_id
    FROM scoreboard_submit((SELECT format('[%s]', string_agg(pg_temp.request('sub-ms', 'ms-' || n), ',' ORDER BY n)) FROM generate_series(1, 40) AS n)::json) AS r;
SELECT count(*), bool_and(w.updated_at::timestamptz = date_trunc('milliseconds', a.created_at)) AS cut FROM answered w JOIN scoreboard.action a USING (action_id);
-- Poison: each element by itself; left and right of it are counted.
CREATE TEMP TABLE poison (n int, element text);
-- Text that replaces "@" in an element that is right otherwise
INSERT INTO poison SELECT n, replace(pg_temp.request('sub-poison', 'poison-' || n, '{"extra": "@"}'), '"@"', p) FROM (VALUES (1, '"\u0000"'), (2, '"\ud800"'), (3, '"\udc00\ud800"'), (4, '1e400000'), (5, '-1e999'), (6, '1e-400000'),
    (7, repeat('9', 400)), (8, repeat('[', 31) || repeat(']', 31)), (9, repeat('[', 32) || repeat(']', 32)), (10, repeat('[', 5000) || repeat(']', 5000)),
    (11, '{"a": 1, "a": 2}'), (12, '[{"a": {"b": 1, "\u0062": 2}}]'), (13, '"\ud83d\ude00"'), (14, '"\uffff"')) AS t(n, p);
INSERT INTO poison SELECT n, replace(pg_temp.request('sub-poison', 'poison-' || n, '{"metadata": {"m": "@"}}'), '"@"', p) FROM (VALUES (20, '"\u0000"'), (21, '"\udfff"'), (22, '1e400000'), (23, '1e300'), (24, '1e-300'), (25, '1e301'), (26, '1e-400000'),
    (27, '"1e400000 \" 1e999999"'), (28, '0.10'), (29, '-0'), (30, repeat('[', 30) || repeat(']', 30)), (31, '"' || repeat('x', 4087) || '"'), (32, '"' || repeat('x', 4088) || '"'), (33, '1E+0005'), (34, '12345678901234567890')) AS t(n, p);
INSERT INTO poison SELECT n, pg_temp.request('sub-poison', 'poison-' || n) FROM generate_series(40, 59) AS n;
-- One member, in a spelling of its own
UPDATE poison SET element = regexp_replace(element, '"issuedAt": (\d+)', r) FROM (VALUES (40, '"issuedAt": \1.0'), (41, '"issuedAt": \1e0'), (42, '"issuedAt": "\1"'), (43, '"issuedAt": 99999999999999999999'), (44, '"issuedAt": \1, "points": 1e1'),
    (45, '"issuedAt": \1, "points": 1.0'), (46, '"issuedAt": \1, "points": true'), (47, '"issuedAt": \1, "issuedAt": \1'), (48, '"issuedAt": \1, "issued\u0041t": \1'), (49, '"issuedAt": \1, "metadata": []'), (50, '"issuedAt": \1, "metadata": "{}"'),
    (51, '"issuedAt": \1, "metadata": null, "points": null, "idempotencyKey": null, "requestId": null'), (52, '"issuedAt": \1, "idempotencyKey": 5'), (53, '"issuedAt": \1, "requestId": ["x"]'), (54, '"issuedAt": 0\1')) AS t(k, r) WHERE n = k AND n <> 54;
UPDATE poison SET element = replace(element, '"poison-55"', '"poison-55\u0000"') WHERE n = 55;
UPDATE poison SET element = replace(element, '"poison-56"', '"poison-\ud835\udfd9"') WHERE n = 56;
UPDATE poison SET element = replace(element, '"poison-57"', '57') WHERE n = 57;
UPDATE poison SET element = replace(element, '"actionId"', '"\u0061ctionId"') WHERE n = 58;
DELETE FROM poison WHERE n IN (54, 59);
INSERT INTO poison VALUES (60, 'null'), (61, 'true'), (62, '1'), (63, '1e400000'), (64, '"text"'), (65, '"\u0000"'), (66, '[]'), (67, '[{}]'), (68, '{}'), (69, '{"": ""}'), (70, '{"token": {"token": 1}}');
INSERT INTO poison SELECT 70 + i, format('{"%s": %s}', m, CASE WHEN i % 2 = 0 THEN '["canary"]' ELSE '{"canary": 1}' END) FROM unnest('{actionType,actionId,board,points,issuedAt,receipt,metadata,token,idempotencyKey,requestId,clientAddress}'::text[]) WITH ORDINALITY AS t(m, i) WHERE m <> 'metadata';
INSERT INTO poison SELECT n, replace(pg_temp.request('sub-poison', 'poison-' || n, '{"extra": "@"}'), '"@"', p) FROM (VALUES (90, '"' || repeat('[{\" ', 50) || '"'), (91, '" \\"'), (92, '[ ] '), (93, '{"a": {"x": 1}, "b": {"x": 1}, "x": [{"x": 1}, {"x": 2}]}'),
    (94, format('{%s}', (SELECT string_agg(format('"m%s": 0', g), ',') FROM generate_series(1, 1000) AS g))), (95, format('{%s, "m\u0037": 1}', (SELECT string_agg(format('"m%s": 0', g), ',') FROM generate_series(1, 1000) AS g)))) AS t(n, p);
SELECT p.n, s.status, CASE WHEN s.status = 200 THEN 'counted' ELSE s.answer END AS answer, l.status AS left, r.status AS right FROM (SELECT * FROM poison ORDER BY n OFFSET 0) AS p,
    LATERAL (SELECT array_agg(t.status ORDER BY t.n) AS a, max(t.answer) FILTER (WHERE t.n = 2) AS answer FROM pg_temp.submit(pg_temp.request('sub-l', 'l' || p.n), p.element, pg_temp.request('sub-r', 'r' || p.n)) AS t) AS u,
    LATERAL (SELECT u.a[2] AS status, u.answer) AS s, LATERAL (SELECT u.a[1] AS status) AS l, LATERAL (SELECT u.a[3] AS status) AS r ORDER BY p.n;
SELECT a.action_id, left(a.metadata::text, 60) AS metadata, length(a.metadata::text) FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id = 'sub-poison' AND a.metadata IS NOT NULL ORDER BY 1;
-- All of them in one batch
SELECT count(*), count(*) FILTER (WHERE s.n <> s.i) AS out_of_order, sum((s.status = 200)::int) AS answered FROM (SELECT t.n, t.status, row_number() OVER () AS i FROM pg_temp.submit(VARIADIC (SELECT array_agg(element ORDER BY n) FROM poison)) AS t) AS s;
-- The array itself
SELECT * FROM scoreboard_submit('[]');
SELECT sign.outcome('SELECT * FROM scoreboard_submit(NULL)');
SELECT sign.outcome('SELECT * FROM scoreboard_submit(''{}'')');
SELECT sign.outcome('SELECT * FROM scoreboard_submit(''null'')');
SELECT sign.outcome('SELECT * FROM scoreboard_submit('' "[" '')');
SELECT sign.outcome('SELECT * FROM scoreboard_submit(''['')');
SELECT count(*), min(status), max(status) FROM scoreboard_submit(format(E' \n\t[%s]', (SELECT string_agg('{}', ',') FROM generate_series(1, 1000)))::json);
SELECT sign.outcome(format('SELECT * FROM scoreboard_submit(''[%s]'')', (SELECT string_agg('{}', ',') FROM generate_series(1, 1001))));
-- As many players as a batch may have
SELECT count(*), sum((status = 200)::int) AS counted FROM scoreboard_submit((SELECT format('[%s]', string_agg(pg_temp.request('sub-many-' || n, 'm'), ',')) FROM generate_series(1, 1000) AS n)::json);
SELECT count(*) FROM scoreboard.player WHERE user_id LIKE 'sub-many-%';
-- Rate windows count each element by itself, and say when to come again.
SET scoreboard.rate_limit = 3;
SELECT n, status, retry BETWEEN 1 AND 60 AS waits, answer FROM pg_temp.submit(pg_temp.request('sub-rate', '1'), pg_temp.request('sub-rate', '2'), pg_temp.request('sub-rate', '3'), pg_temp.request('sub-rate', '4'), pg_temp.request('sub-rate-other', '1'));
SET scoreboard.rate_limit = 0;
-- Only what a token vouches for: a gateway can't borrow the claims of a trusted request.
SELECT set_config('scoreboard.trusted_request_roles', quote_ident(session_user), false) <> '' AS set;
SELECT set_config('request.jwt.claims', json_build_object('iss', 'https://id.test', 'sub', 'sub-ada', 'exp', sign.now() + 600)::text, false) <> '' AS set;
SELECT scoreboard_me() ->> 'userId' AS the_claims_hold;
SELECT * FROM pg_temp.submit(pg_temp.request('sub-ada', 'claims', '{"token": null}'));
RESET request.jwt.claims;
RESET scoreboard.trusted_request_roles;
-- A rollback leaves nothing of a batch.
BEGIN;
SELECT n, status FROM pg_temp.submit(pg_temp.request('sub-gone', '1'), pg_temp.request('sub-gone', '2'));
ROLLBACK;
SELECT count(*) FROM scoreboard.player WHERE user_id = 'sub-gone';
