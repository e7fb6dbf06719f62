"""Add data of every shape from one page: prompts, answers, annotations, datasets."""
