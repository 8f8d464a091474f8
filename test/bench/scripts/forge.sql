SELECT pg_notify('scoreboard', format('{"board":"global","version":%s}', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint));
SELECT pg_notify('scoreboard', format('{"board":"b%s","version":1}', (random() * 1000000)::int));
