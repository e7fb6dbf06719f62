"""Handle requests and sockets as they come in: the handler, bodies, limits, threads, waiting for a model, downloads."""
