"""Datasets: which feedback goes in, frozen, shown and downloaded."""
