"""Copy an installation to another place while it runs, and bring it back from there on an empty machine.

The rows first, in one snapshot, and then the files. Files are written before the rows that name them, so that each row
of the snapshot has its files; what came since is more than the rows name, and harms nothing.
"""
