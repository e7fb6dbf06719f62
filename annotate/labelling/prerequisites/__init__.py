"""Check what comes before the next item: guidelines, the tutorial, a message, a pause."""
