"""Votes unlike all others, which only many together show: by odd voters, the same hands, floods. Held, and released."""
