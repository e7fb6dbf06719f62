"""The leaderboard for programs."""
