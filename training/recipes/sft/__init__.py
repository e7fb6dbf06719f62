"""Supervised finetuning: `python -m training.recipes.sft RUN_DIR`."""
