"""Present runs as plain data for pages, live updates and the API, with what each kind adds."""
