-- Each client's own requests, in order: they are of the few players that are its own.
\set k :k + 1
\set n :first + :k * :clients + :client_id
SELECT scoreboard_increment_for(r.user_id, :type, r.action_id, issued_at => r.issued_at, receipt => r.receipt, idempotency_key => r.action_id) FROM bench.request r WHERE r.n = :n;
