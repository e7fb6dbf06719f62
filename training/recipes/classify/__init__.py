"""Finetune a classifier: `python -m training.recipes.classify RUN_DIR`."""
