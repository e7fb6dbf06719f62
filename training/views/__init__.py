"""The pages of this app: ordering a run, following it, comparing runs, and what one kind alone shows."""
