"""Add prompts and completions."""
