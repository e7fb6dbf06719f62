"""Freeze feedback into datasets, show and download them."""
