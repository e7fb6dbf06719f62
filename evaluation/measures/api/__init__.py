"""Evaluations for programs."""
