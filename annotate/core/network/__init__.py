"""The network around the site: who asks, by which proxies, and what it may ask of others."""
