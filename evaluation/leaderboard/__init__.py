"""Rank models by votes: intervals, the published leaderboard, its history, and alternative ratings."""
