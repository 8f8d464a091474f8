-- Places that players have moved since the day or the season began: in the document and in the view, for the first ones of then only.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/lib/signing.sql'
\set ECHO none
\i :helpers
\set SHOW_CONTEXT never
SET scoreboard.rate_limit = 0;
SET scoreboard.burst_limit = 0;
SET client_min_messages = warning;
-- Waits until the published list is this one: rank, player, movement.
CREATE FUNCTION pg_temp.short(entries json) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat_ws(' ', e ->> 'rank', CASE WHEN e ->> 'userId' LIKE 'forgotten%' THEN 'somebody' ELSE substr(e ->> 'userId', 4) END,
        CASE json_typeof(e -> 'movement') WHEN 'number' THEN to_char((e ->> 'movement')::int, 'SG9') WHEN 'null' THEN 'null' ELSE 'none' END), ', ' ORDER BY n), 'nobody') FROM json_array_elements(entries) WITH ORDINALITY AS x (e, n)
$$;
CREATE FUNCTION pg_temp.shows(board text, list text, season integer DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    FOR round IN 1..1500 LOOP
        BEGIN
            found := pg_temp.short(scoreboard_leaderboard(board, season => season) -> 'entries');
        EXCEPTION WHEN SQLSTATE 'PT503' OR SQLSTATE 'PT404' THEN
            found := SQLERRM;
        END;
        EXIT WHEN found = list;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN found;
END
$$;
CREATE FUNCTION pg_temp.view(board text, who text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws('; ', pg_temp.short(v -> 'entries'), 'own ' || pg_temp.short(json_build_array(v -> 'own')), 'next ' || pg_temp.short(CASE WHEN json_typeof(v -> 'next') = 'object' THEN json_build_array(v -> 'next') END),
        'around ' || pg_temp.short(v -> 'neighbours'), 'friends ' || pg_temp.short(v -> 'friends')) FROM scoreboard_view(board, user_ids => '{mv:b}', token => sign.token(who)) v
$$;
CREATE FUNCTION pg_temp.score(board text, who text, points bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT score FROM scoreboard_increment_for('mv:' || who, 'AWARD', gen_random_uuid()::text, board, points)
$$;
-- The clock is set: what is noted is of so many days before or after, and the publisher looks.
CREATE FUNCTION pg_temp.noted_at(board text, days integer) RETURNS void LANGUAGE sql AS $$
    UPDATE scoreboard.baseline n SET stands_for = stands_for + days * interval '1 day' FROM scoreboard.board b WHERE b.board_id = n.board_id AND b.name = board;
    UPDATE scoreboard.board b SET title = title || '.' WHERE b.name = board
$$;
-- In a zone where no midnight is near
SELECT CASE WHEN extract(hour FROM now() AT TIME ZONE 'UTC') BETWEEN 1 AND 22 THEN 'UTC' ELSE 'Etc/GMT+6' END AS zone \gset
INSERT INTO scoreboard.board (name, time_zone, publish_interval_ms) VALUES ('mv', :'zone', 10);
SELECT sign.wait_for_ranks();
SELECT pg_temp.score('mv', 'a', 30), pg_temp.score('mv', 'b', 20), pg_temp.score('mv', 'c', 10);
SELECT pg_temp.shows('mv', '1 a none, 2 b none, 3 c none');
SELECT pg_temp.view('mv', 'mv:c');
UPDATE scoreboard.board SET movement = 'week' WHERE name = 'mv';
UPDATE scoreboard.board SET movement = NULL WHERE name = 'mv';
UPDATE scoreboard.board SET movement_entries = 0 WHERE name = 'mv';
UPDATE scoreboard.board SET movement_entries = 1001 WHERE name = 'mv';
-- Of the day: noted now, since nobody has noted it at midnight.
UPDATE scoreboard.board SET movement = 'day', movement_entries = 2 WHERE name = 'mv';
SELECT pg_temp.shows('mv', '1 a +0, 2 b +0, 3 c null');
SELECT n.movement, n.season, n.stands_for = (scoreboard.calendar_day(:'zone', now())).day_begins AS midnight, n.captured_at > now() - interval '1 minute' AS now, cardinality(n.player_ids) AS players, n.ranks
    FROM scoreboard.baseline n JOIN scoreboard.board b USING (board_id) WHERE b.name = 'mv';
SELECT pg_temp.score('mv', 'c', 25);
SELECT pg_temp.shows('mv', '1 c null, 2 a -1, 3 b -1');
SELECT pg_temp.view('mv', 'mv:a');
SELECT pg_temp.view('mv', 'mv:nobody');
SELECT version AS before FROM scoreboard.top WHERE board = 'mv' \gset
-- A new day changes the document, though nobody has scored.
SELECT pg_temp.noted_at('mv', -1);
SELECT pg_temp.shows('mv', '1 c +0, 2 a +0, 3 b null');
SELECT version > :before AS newer FROM scoreboard.top WHERE board = 'mv';
SELECT pg_temp.score('mv', 'a', 100);
SELECT pg_temp.shows('mv', '1 a +1, 2 c -1, 3 b null');
-- Ranks are those of then: who makes way lets others rise, and is where it was when it comes back.
SELECT scoreboard_ban('mv:c');
SELECT pg_temp.shows('mv', '1 a +1, 2 b null');
SELECT scoreboard_restore('mv:c');
SELECT pg_temp.shows('mv', '1 a +1, 2 c -1, 3 b null');
SELECT scoreboard_hide('mv:a');
SELECT pg_temp.shows('mv', '1 c +0, 2 b null');
SELECT pg_temp.view('mv', 'mv:a');
SELECT scoreboard_hide('mv:a', false);
SELECT pg_temp.shows('mv', '1 a +1, 2 c -1, 3 b null');
SELECT * FROM scoreboard_verify('mv') WHERE finding <> 'score without an action';
-- Who is erased leaves no number behind; the others keep their ranks.
SELECT player_id AS c FROM scoreboard.player WHERE user_id = 'mv:c' \gset
SELECT mode FROM scoreboard_forget('mv:c');
SELECT pg_temp.shows('mv', '1 a +1, 2 b null');
SELECT count(*) FILTER (WHERE :c = ANY (player_ids)) AS traces, count(*) FILTER (WHERE cardinality(player_ids) <> cardinality(ranks)) AS uneven FROM scoreboard.baseline;
SELECT mode FROM scoreboard_forget('mv:a', 'anonymise');
SELECT pg_temp.shows('mv', '1 somebody +1, 2 b null');
-- A day that had begun isn't left where the clock is set back behind its midnight; one that is far ahead was none.
SELECT pg_temp.noted_at('mv', 1);
SELECT version AS before FROM scoreboard.top WHERE board = 'mv' \gset
SELECT pg_temp.score('mv', 'b', 1);
SELECT sign.becomes(format($$(SELECT version > %s FROM scoreboard.top WHERE board = 'mv')$$, :before));
SELECT pg_temp.shows('mv', '1 somebody +1, 2 b null');
SELECT stands_for > now() AS of_then FROM scoreboard.baseline JOIN scoreboard.board USING (board_id) WHERE name = 'mv';
SELECT pg_temp.noted_at('mv', 30);
SELECT pg_temp.shows('mv', '1 somebody +0, 2 b +0');
-- Who takes an action back goes to its place; a board with another name is the same.
SELECT pg_temp.score('mv', 'b', 1000);
SELECT pg_temp.shows('mv', '1 b +1, 2 somebody -1');
SELECT score FROM scoreboard_undo('mv:b', (SELECT a.action_id FROM scoreboard.action a JOIN scoreboard.player p USING (player_id) WHERE p.user_id = 'mv:b' ORDER BY a.created_at DESC LIMIT 1), 'a mistake');
SELECT pg_temp.shows('mv', '1 somebody +0, 2 b +0');
UPDATE scoreboard.board SET name = 'mv-renamed' WHERE name = 'mv';
SELECT pg_temp.shows('mv-renamed', '1 somebody +0, 2 b +0');
UPDATE scoreboard.board SET name = 'mv' WHERE name = 'mv-renamed';
-- Nothing is read or shown without the setting.
UPDATE scoreboard.board SET movement = 'none' WHERE name = 'mv';
SELECT pg_temp.shows('mv', '1 somebody none, 2 b none');
-- Since the season began: a board that has one only never had another order.
UPDATE scoreboard.board SET movement = 'season', movement_entries = 100 WHERE name = 'mv';
SELECT pg_temp.shows('mv', '1 somebody null, 2 b null');
SELECT count(*) AS noted FROM scoreboard.baseline n JOIN scoreboard.board b USING (board_id) WHERE b.name = 'mv' AND n.movement = 'season';
-- The order in which the season before has ended, ties as the board has them
INSERT INTO scoreboard.board (name, period, time_zone, ties, movement, publish_interval_ms) VALUES ('mv-reset', 'reset', :'zone', 'shared', 'season', 10);
SELECT pg_temp.score('mv-reset', 'd', 5), pg_temp.score('mv-reset', 'e', 5), pg_temp.score('mv-reset', 'f', 4);
SELECT pg_temp.shows('mv-reset', '1 d null, 1 e null, 3 f null');
SELECT season FROM scoreboard_reset_season('mv-reset');
SELECT pg_temp.shows('mv-reset', 'nobody');
SELECT pg_temp.score('mv-reset', 'f', 3), pg_temp.score('mv-reset', 'd', 2), pg_temp.score('mv-reset', 'g', 1);
SELECT pg_temp.shows('mv-reset', '1 f +2, 2 d -1, 3 g null');
SELECT n.movement, n.season, n.stands_for = s.began_at AS began, n.ranks FROM scoreboard.baseline n JOIN scoreboard.board b USING (board_id) JOIN scoreboard.season s USING (board_id, season) WHERE b.name = 'mv-reset' AND season = 2;
-- The ended one's document says what it said; who is banned since leaves it, and what is left still says how far they had moved.
SELECT pg_temp.shows('mv-reset', '1 d null, 1 e null, 3 f null', season => 1);
SELECT season FROM scoreboard_reset_season('mv-reset');
SELECT pg_temp.score('mv-reset', 'g', 1);
SELECT pg_temp.shows('mv-reset', '1 g +2');
SELECT pg_temp.shows('mv-reset', '1 f +2, 2 d -1, 3 g null', season => 2);
SELECT scoreboard_ban('mv:f');
SELECT pg_temp.shows('mv-reset', '1 d +0, 2 g null', season => 2);
SELECT string_agg(n.season::text, ' ' ORDER BY n.season) AS noted FROM scoreboard.baseline n JOIN scoreboard.board b USING (board_id) WHERE b.name = 'mv-reset';
SELECT season, finding FROM scoreboard_verify('mv-reset');
-- What was noted stays as long as its season does, so its document can be made anew.
UPDATE scoreboard.board SET movement = 'none' WHERE name = 'mv-reset';
SELECT pg_temp.shows('mv-reset', '1 d none, 2 g none', season => 2);
UPDATE scoreboard.board SET movement = 'season' WHERE name = 'mv-reset';
SELECT pg_temp.shows('mv-reset', '1 d +0, 2 g null', season => 2);
SELECT season, finding FROM scoreboard_verify('mv-reset');
-- Of the day, where a season began on it: it is the season's; from the next day on the day's.
UPDATE scoreboard.board SET movement = 'day' WHERE name = 'mv-reset';
SELECT pg_temp.score('mv-reset', 'd', 2);
SELECT pg_temp.shows('mv-reset', '1 d +0, 2 g +0');
-- It goes with a season that isn't kept; from a purged season nobody moves.
UPDATE scoreboard.season e SET ended_at = e.ended_at - interval '2 hours' FROM scoreboard.board b WHERE b.board_id = e.board_id AND b.name = 'mv-reset' AND e.season < 3;
UPDATE scoreboard.board SET season_retention = '1 hour' WHERE name = 'mv-reset';
SELECT sign.becomes($$(SELECT string_agg(n.season::text, ' ') = '3' FROM scoreboard.baseline n JOIN scoreboard.board b USING (board_id) WHERE b.name = 'mv-reset')$$) AS purged;
SELECT pg_temp.score('mv-reset', 'g', 5);
SELECT pg_temp.shows('mv-reset', '1 g +1, 2 d -1');
UPDATE scoreboard.board SET movement = 'season' WHERE name = 'mv-reset';
SELECT pg_temp.shows('mv-reset', '1 g null, 2 d null');
-- Label boards have the setting; a board that goes takes it along.
SELECT count(*) FROM scoreboard_set_label_boards('mv', 'country', '{de}');
SELECT movement FROM scoreboard.board JOIN scoreboard.label_board USING (board_id) WHERE value = 'de';
SELECT count(*) FROM scoreboard_set_label_boards('mv', 'country', '{}');
DELETE FROM scoreboard.board WHERE name LIKE 'mv%';
SELECT count(*) AS orphans FROM scoreboard.baseline n WHERE NOT EXISTS (SELECT FROM scoreboard.board b WHERE b.board_id = n.board_id);
