"""Read the rows of an uploaded file: its lines, their meaning, families of tasks. Pure: no Django."""
