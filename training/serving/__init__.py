"""Adapters of children in the memory of the server that serves their base: loaded, unloaded, found again."""
