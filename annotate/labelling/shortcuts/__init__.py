"""Let people choose the keys of the annotation page."""
