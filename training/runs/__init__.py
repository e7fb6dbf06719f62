"""Runs: ordered, queued, launched, followed, reviewed by people, and shown. `api` and `worker` are above the rest."""
