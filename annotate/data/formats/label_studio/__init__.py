"""Label Studio's tasks with their annotations: read and written."""
