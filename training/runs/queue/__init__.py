"""Decide who may carry out a run, prepare its directory, read from it, and record what is left."""
