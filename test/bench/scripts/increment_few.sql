-- As signed_few.sql, with the player's token.
\set k :k + 1
\set n :first + :k * :clients + :client_id
SELECT scoreboard_increment(:type, r.action_id, issued_at => r.issued_at, receipt => r.receipt, idempotency_key => r.action_id, token => r.token) FROM bench.request r WHERE r.n = :n;
