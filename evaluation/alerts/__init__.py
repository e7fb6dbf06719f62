"""What needs somebody in a project: found in its rows, told once to whom it concerns, closed when it is over."""
