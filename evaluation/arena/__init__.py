"""From votes to ranks: the ledger read once, votes in counts and in blocks, intervals, the published leaderboard."""
