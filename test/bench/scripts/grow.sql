-- A hundred increments of a client's own players in one transaction: clients that shared players would wait for each other's locks crosswise.
\set start random(0, :share - 1)
SELECT count(scoreboard_increment_for(bench.user_id((:start + g * 37) % :share * :clients + :client_id + 1), 'AWARD', gen_random_uuid()::text)) FROM generate_series(1, 100) AS g;
