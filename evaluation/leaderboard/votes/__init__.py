"""Votes as the ratings take them: the ledger read once, counts, and blocks of arrays."""
