SELECT * FROM scoreboard_top();
