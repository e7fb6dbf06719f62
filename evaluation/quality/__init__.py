"""Judging the judges: how far they agree, what each does beside the others, and whose judgements should not count."""
