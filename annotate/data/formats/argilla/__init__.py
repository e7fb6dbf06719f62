"""Argilla's records with their responses: read and written."""
