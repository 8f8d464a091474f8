SELECT scoreboard_increment_for(r.user_id, :type, r.action_id, idempotency_key => r.action_id) FROM bench.request r WHERE r.n = (SELECT nextval('bench.next_request'));
