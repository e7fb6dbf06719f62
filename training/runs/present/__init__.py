"""What the pages, live updates and the API show of runs, as plain data, and what each kind adds to it."""
