-- Labels: what a player carries decides which boards its actions count towards from then on; boards of listed values only, made after a template.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
INSERT INTO scoreboard.board (board_id, name, title, score_order, operator, ties, top_size, lowest_score) VALUES (980, 'lb.world', 'World', 'low', 'best', 'shared', 7, -50);
INSERT INTO scoreboard.board (board_id, name, counts_towards) VALUES (990, 'lb.eu', '{980}');
SELECT * FROM scoreboard_set_label_boards('lb.world', 'country', '{fr,de,de}');
SELECT * FROM scoreboard_set_label_boards('lb.eu', 'cohort', '{2026-11}');
SELECT name, title, score_order, operator, ties, top_size, lowest_score, counts_towards FROM scoreboard.board WHERE name LIKE 'lb.world%' ORDER BY name;
SELECT sign.wait_for_ranks();
CREATE FUNCTION pg_temp.add(who text, id text, points bigint, board text DEFAULT 'lb.eu') RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT board, score FROM scoreboard_increment_for(%L, %L, %L, %L, %L)', who, 'AWARD', id, board, points))
$$;
CREATE VIEW pg_temp.scores AS SELECT p.user_id, string_agg(format('%s %s', b.name, s.score), ', ' ORDER BY b.name COLLATE "C") AS scores FROM scoreboard.score s JOIN scoreboard.board b USING (board_id) JOIN scoreboard.player p USING (player_id)
    WHERE b.name LIKE 'lb.%' GROUP BY 1 ORDER BY 1;

-- Without labels, with one, with both; a value that nobody listed counts nowhere.
SELECT pg_temp.add('lb:ada', '1', 5);
SELECT scoreboard_set_labels('lb:ada', '{"country": "de"}');
SELECT pg_temp.add('lb:ada', '2', 7);
SELECT scoreboard_set_labels('lb:bob', '{"country": "fr", "cohort": "2026-11", "colour": "red"}');
SELECT pg_temp.add('lb:bob', '1', 5);
SELECT scoreboard_set_labels('lb:cyd', '{"country": "xx", "cohort": "2026-10"}');
SELECT pg_temp.add('lb:cyd', '1', 5);
-- The template itself feeds its boards, too.
SELECT pg_temp.add('lb:cyd', '2', 4, 'lb.world');
TABLE pg_temp.scores;
SELECT count(*) FROM scoreboard.board WHERE name LIKE 'lb.%';
-- A changed label counts from then on; the old score stays.
SELECT scoreboard_set_labels('lb:ada', '{"country": "fr"}');
SELECT pg_temp.add('lb:ada', '3', -20);
SELECT scoreboard_set_labels('lb:ada', '{}');
SELECT pg_temp.add('lb:ada', '4', -30);
TABLE pg_temp.scores;
SELECT rank, user_id, score FROM scoreboard_top('lb.world.country.fr');
-- What one label board refuses is refused on all.
UPDATE scoreboard.board SET lowest_score = -10 WHERE name = 'lb.world.country.fr';
SELECT pg_temp.add('lb:bob', '2', -20);
SELECT scores FROM pg_temp.scores WHERE user_id = 'lb:bob';

-- No action names a label board, no grant either; corrections do.
SELECT pg_temp.add('lb:bob', '3', 5, 'lb.world.country.fr');
SELECT sign.outcome($$ SELECT * FROM sign.increment('lb:bob', 'COMPLETE_LEVEL', '3', 'lb.world.country.fr') $$);
SELECT sign.outcome($$ SELECT scoreboard_create_grant('lb:bob', 'COMPLETE_LEVEL', 'lb.world.country.fr') $$);
SELECT score FROM scoreboard_adjust('lb:bob', 'lb.world.country.fr', 1, 'why', 'lb-1');

-- From a token: capitals are small letters, another form is none; it wins over what is stored, and what it doesn't give stays.
SELECT sign.outcome($$ UPDATE scoreboard.jwt_issuer SET labels_claims = '{"country": "address.country", "cohort": "cohort"}' WHERE issuer = 'https://id.test' RETURNING 'mapped' AS answer $$);
CREATE FUNCTION pg_temp.play(who text, id text, claims jsonb) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT score FROM scoreboard_increment(%L, %L, %L, issued_at => %s, receipt => %L, token => %L)', 'FIND_COIN', id, 'lb.eu', s, sign.receipt(who, 'FIND_COIN', id, 'lb.eu', NULL, s), sign.token(who, claims)))
    FROM (SELECT sign.now() AS s) AS t
$$;
SELECT pg_temp.play('lb:dan', '1', '{"address": {"country": "DE"}, "cohort": 7}');
SELECT pg_temp.play('lb:dan', '2', '{"cohort": "2026-11"}');
SELECT pg_temp.play('lb:dan', '3', '{"address": {"country": "not a country"}, "cohort": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}');
SELECT pg_temp.play('lb:dan', '4', '{"address": {"country": "fr"}}');
SELECT labels FROM scoreboard.player WHERE user_id = 'lb:dan';
TABLE pg_temp.scores;
SELECT c.action_id, b.name FROM scoreboard.credit c JOIN scoreboard.player p USING (player_id) JOIN scoreboard.board b USING (board_id) WHERE p.user_id = 'lb:dan' ORDER BY 1, b.name COLLATE "C";
-- A refused action changes no label.
SELECT pg_temp.play('lb:dan', '4', '{"address": {"country": "de"}}');
SELECT labels FROM scoreboard.player WHERE user_id = 'lb:dan';
UPDATE scoreboard.jwt_issuer SET labels_claims = '{"Country": "c"}' WHERE issuer = 'https://id.test';
UPDATE scoreboard.jwt_issuer SET labels_claims = '{"country": 1}' WHERE issuer = 'https://id.test';
UPDATE scoreboard.jwt_issuer SET labels_claims = '{}' WHERE issuer = 'https://id.test';

-- Listed together, with label and value
SELECT board, title, label, value FROM scoreboard_boards() WHERE board LIKE 'lb.%';
SELECT count(*) FROM json_array_elements(scoreboard.boards(NULL) -> 'boards') AS e WHERE (e ->> 'board', e ->> 'label', e ->> 'value') = ('lb.eu.cohort.2026-11', 'cohort', '2026-11');

-- Their form
SELECT sign.outcome(format('SELECT scoreboard_set_labels(%L, %L)', who, labels)) FROM (VALUES (1, '', '{}'), (2, 'lb:new', NULL), (3, 'lb:new', '[]'), (4, 'lb:new', '{"Country": "de"}'), (5, 'lb:new', '{"country": "DE"}'),
    (6, 'lb:new', '{"country": 1}'), (7, 'lb:new', '{"country": null}'), (8, 'lb:new', '{"country": ""}'), (9, 'lb:new', '{"country": ["de"]}'), (10, 'lb:new', '{"country": {"de": "de"}}'),
    (11, 'lb:new', (SELECT jsonb_object_agg('l' || n, 'v') FROM generate_series(1, 17) n)::text), (12, 'lb:new', '{"' || repeat('l', 33) || '": "v"}')) AS t(n, who, labels) ORDER BY n;
SELECT count(*) FROM scoreboard.player WHERE user_id = 'lb:new';
SELECT sign.outcome($$ UPDATE scoreboard.player SET labels = '{"country": "De"}' WHERE user_id = 'lb:ada' $$);

-- What can't be listed
CREATE FUNCTION pg_temp.list(board text, label text, listed text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT sign.outcome(format('SELECT string_agg(b, %L) AS boards FROM scoreboard_set_label_boards(%L, %L, %L) AS b', ' ', board, label, listed))
$$;
SELECT pg_temp.list('lb.none', 'country', '{de}');
SELECT pg_temp.list('lb.world', 'Country', '{de}');
SELECT pg_temp.list('lb.world', 'country', '{de,""}');
SELECT pg_temp.list('lb.world', 'country', '{de,NULL}');
SELECT pg_temp.list('lb.world', 'country', NULL);
SELECT pg_temp.list('lb.world', 'country', ARRAY['de', 'fr', repeat('v', 33)]);
SELECT pg_temp.list('lb.world.country.de', 'cohort', '{a}');
INSERT INTO scoreboard.board (name) VALUES ('lb.' || repeat('n', 50)), ('lb.world.country.it');
SELECT pg_temp.list('lb.' || repeat('n', 50), 'country', '{de}');
SELECT pg_temp.list('lb.world', 'country', '{de,fr,it}');
-- A value that is taken off: its board goes, unless it has scores.
SELECT pg_temp.list('lb.world', 'country', '{de,fr,es}');
SELECT pg_temp.list('lb.world', 'country', '{de,fr}');
SELECT pg_temp.list('lb.world', 'country', '{de}');
DELETE FROM scoreboard.board WHERE name = 'lb.world.country.fr';
SELECT pg_temp.list('lb.world', 'country', '{de}');
SELECT pg_temp.add('lb:bob', '4', 1);
SELECT scores FROM pg_temp.scores WHERE user_id = 'lb:bob';

-- The template's settings, later too; what may lead where
UPDATE scoreboard.board SET top_size = 9, title = 'The world', visibility = 'token' WHERE name = 'lb.world';
SELECT name, title, top_size, visibility FROM scoreboard.board WHERE name LIKE 'lb.world%' ORDER BY name COLLATE "C";
UPDATE scoreboard.board SET counts_towards = '{980}' WHERE name = 'lb.world.country.de';
UPDATE scoreboard.board SET counts_towards = (SELECT array_agg(board_id) FROM scoreboard.board WHERE name = 'lb.world.country.de') WHERE name = 'lb.eu';
-- A template goes with its label boards, or not at all.
DELETE FROM scoreboard.board WHERE name = 'lb.eu';
SELECT * FROM scoreboard_verify() WHERE board_name LIKE 'lb.%';
-- Forgotten: without labels
SELECT mode FROM scoreboard_forget('lb:dan', 'anonymise');
SELECT count(*) FROM scoreboard.player WHERE labels <> '{}' AND user_id LIKE 'forgotten-%';
DELETE FROM scoreboard.board WHERE name LIKE 'lb.%';
SELECT count(*) FROM scoreboard.label_board;
DELETE FROM scoreboard.credit;
