"""The rules that clean a corpus, one module each, and the report of what they did. Knows neither Django nor torch."""
