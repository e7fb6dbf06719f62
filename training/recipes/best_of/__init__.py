"""Draw answers in bulk, and keep the best of N by a reward model."""
