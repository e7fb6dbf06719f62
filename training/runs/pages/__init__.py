"""The pages of runs: order one, follow it, compare several."""
