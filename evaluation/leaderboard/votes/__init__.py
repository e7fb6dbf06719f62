"""Read votes for the ratings: the ledger once, counts, and blocks of arrays."""
