"""Use Redis as cache and channel layer; both may be gone, and nothing depends on them."""
