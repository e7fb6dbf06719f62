"""Rounds of RLHF by a plan: annotate the newest policy, fit a reward model, optimise, compare, and so on."""
