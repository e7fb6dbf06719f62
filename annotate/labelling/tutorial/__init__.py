"""Run the tutorial: gold items in order, each explained after it was answered."""
