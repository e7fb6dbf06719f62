"""From texts of any origin to a corpus: where they are read, by which rules they are cleaned, and what is told of it.

Knows neither Django nor torch. `orders` and `places` are light enough for the web process; the rest is for the recipe.
"""
