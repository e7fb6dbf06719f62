"""Read feedback row by row, import it by ids, and change its status."""
