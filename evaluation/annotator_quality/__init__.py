"""Measure how far annotators agree, what each does beside the others, and whose annotations should not count."""
