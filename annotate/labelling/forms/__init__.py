"""Check and store what may be said about an item."""
