"""What each tab of a run's page shows, as plain data: the page and its live updates render the same."""
