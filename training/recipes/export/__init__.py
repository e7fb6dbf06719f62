"""Write a model as files for other programs: `python -m training.recipes.export RUN_DIR`."""
