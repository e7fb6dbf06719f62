"""Describe where a model comes from and what came of it: its card, its lineage, its cost, its files."""
