"""Learn a reward model: `python -m training.recipes.reward RUN_DIR`. Score with one."""
