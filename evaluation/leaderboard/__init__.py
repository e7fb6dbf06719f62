"""From votes to ranks: intervals, the published leaderboard, its history, and the same votes counted otherwise."""
