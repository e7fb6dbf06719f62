"""Which item an annotator gets next."""
