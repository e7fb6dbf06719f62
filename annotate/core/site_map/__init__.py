"""The map of the site: which pages there are, in which group each is, and what of it a reader is shown."""
