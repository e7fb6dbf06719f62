"""Choose which item an annotator gets next."""
