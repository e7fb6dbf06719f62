"""The queue: what must hold before a run waits in it, who may carry it out, the worker that does, and what is left."""
