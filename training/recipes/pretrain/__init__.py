"""Pretrain a model from raw text: `python -m training.recipes.pretrain RUN_DIR`. Domain runs share its parts."""
