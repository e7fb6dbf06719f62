"""Evaluate models: what is measured on what, read item by item, compared model by model."""
