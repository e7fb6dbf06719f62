"""Recipes that measure one model: torch programs that know a run directory and nothing else."""
