"""Tell whether files are what they were when they were written: by their hashes, and by their lengths."""
