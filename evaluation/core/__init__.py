"""What every subject of this app uses."""
