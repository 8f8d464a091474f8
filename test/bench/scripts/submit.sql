SELECT count(*) FROM bench.batch b, scoreboard_submit(b.requests) AS s WHERE b.n = (SELECT nextval('bench.next_batch')) AND s.status = 200;
