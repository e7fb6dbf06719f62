"""The keys of the labelling page, and a person's own."""
