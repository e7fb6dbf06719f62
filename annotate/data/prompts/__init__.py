"""Prompts and completions enter here."""
