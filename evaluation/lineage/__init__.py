"""Where a model comes from and what came of it: votes, runs and ancestors, its card and its picture."""
