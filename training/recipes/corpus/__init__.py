"""Gather and clean a corpus: `python -m training.recipes.corpus RUN_DIR`."""
