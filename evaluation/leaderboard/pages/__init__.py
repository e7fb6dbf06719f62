"""Pages of the leaderboard, and their addresses."""
