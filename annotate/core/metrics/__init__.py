"""Measure what a process does, for Prometheus; docs/guides/operating.md has the table of metrics."""
