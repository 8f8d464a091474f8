SELECT bench.textbook_increment(r.player_id, r.action_id) FROM bench.request r WHERE r.n = (SELECT nextval('bench.next_request'));
