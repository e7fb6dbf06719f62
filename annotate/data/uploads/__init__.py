"""Turn the rows of a file into a frozen dataset."""
