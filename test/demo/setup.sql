-- What the demo's players need: a titled board, action types, an identity provider and a service's key. Part of scoreboard; PostgreSQL
-- licence, see LICENSE.
--
-- Run as a superuser or a role of level admin, with psql 14 or newer. It reads the demo's environment and prints one line, the secret of the new key:
--
--   export DEMO_ISSUER=https://id.demo.example                          iss of the tokens
--   export DEMO_ISSUER_SECRET=$(openssl rand 32 | base64 | tr '+/' '-_' | tr -d '=\n')    the HS256 key as base64url
--   export DEMO_AUDIENCE=demo                                           the setting scoreboard.audience, or the database's name where that is empty
--   export DEMO_KEY_ID=demo-$(date +%s)                                 a new one each time
--   export DEMO_BOARD=global DEMO_TITLE='Midnight Arcade'               optional
--   DEMO_KEY_SECRET=$(psql -XqAt -v ON_ERROR_STOP=1 -f test/demo/setup.sql) && export DEMO_KEY_SECRET
--
-- DEMO_AUDIENCE is signed into each receipt, and is the tokens' `aud` as well. The secrets travel through the environment, so that no
-- command line shows them. The bridge counts requests per address; all players share one, so start it with a limit that lets them pass.

\set issuer
\set issuer_secret
\set audience
\set key_id
\set board global
\set title 'Midnight Arcade'
\getenv issuer DEMO_ISSUER
\getenv issuer_secret DEMO_ISSUER_SECRET
\getenv audience DEMO_AUDIENCE
\getenv key_id DEMO_KEY_ID
\getenv board DEMO_BOARD
\getenv title DEMO_TITLE

BEGIN;

INSERT INTO scoreboard.board (name, title) VALUES (:'board', :'title')
ON CONFLICT (name) DO UPDATE SET title = EXCLUDED.title;

INSERT INTO scoreboard.action_type (name, points)
VALUES ('COMPLETE_LEVEL', 100), ('WIN_MATCH', 250), ('DAILY_QUEST', 50), ('FIND_COIN', 10)
ON CONFLICT (name) DO UPDATE SET points = EXCLUDED.points;

SELECT scoreboard_set_issuer(
	issuer => :'issuer',
	jwks => json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'kid', 'demo', 'k', :'issuer_secret')))::text,
	audience => :'audience',
	max_lifetime => '1 day',
	name_claim => 'name') AS ignored \gset

SELECT scoreboard_create_key(:'key_id',
	boards => ARRAY[:'board'],
	action_types => ARRAY['COMPLETE_LEVEL', 'WIN_MATCH', 'DAILY_QUEST', 'FIND_COIN']) AS secret \gset

COMMIT;

\echo :secret
