"""Order a run: check it, queue it, cancel, resume, choose at a pause. Each is one transaction or no change."""
