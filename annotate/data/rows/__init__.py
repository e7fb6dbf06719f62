"""What the rows of an uploaded file are: its lines, their meaning, families of tasks. Pure: no Django."""
