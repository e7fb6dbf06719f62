"""Hold what every subject of this app uses."""
