"""Train by PPO: `python -m training.recipes.ppo RUN_DIR`. Its maths is in `training.rl`."""
