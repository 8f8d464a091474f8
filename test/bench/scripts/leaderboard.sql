SELECT scoreboard_leaderboard();
