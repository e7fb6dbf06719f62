"""Hold what several measures need: likelihoods, items of choices, figures, and what a run leaves behind."""
