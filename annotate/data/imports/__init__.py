"""Files of other tools on their way in: kept, read, written in chunks, and gone on with after any accident."""
