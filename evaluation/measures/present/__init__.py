"""Present figures and items of evaluations for pages, downloads and the API."""
