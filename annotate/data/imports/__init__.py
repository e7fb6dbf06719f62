"""Import files of other tools: kept, read, written in chunks, and resumed after any accident."""
