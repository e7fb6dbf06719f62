"""Simulate annotators: they sign in and annotate through the HTTP API like anyone, each by a hidden taste.

Nothing that trains sees a taste; it sees votes, and their rows say that a simulation cast them. Of these modules only
`accounts` knows Django.
"""
