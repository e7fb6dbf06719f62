"""Figures and items of evaluations as pages, downloads and the API show them."""
