"""The queue: who may carry out a run, what its directory holds, what is read from it, and what is left."""
