"""Order, queue, launch, follow and show runs, and have people review them. `api` and `worker` are above the rest."""
