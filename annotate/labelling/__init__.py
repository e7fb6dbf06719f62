"""Hand out items, take their annotations, and let them be changed or withdrawn."""
