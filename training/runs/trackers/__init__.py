"""Hand figures of runs to the trackers that people already use: TensorBoard always, W&B and MLflow where configured.

The rows in the database are what is true; a tracker gets them in order, at least once, from the background worker, so
that recipes and workers wait for no tracker and know no key of one.
"""
