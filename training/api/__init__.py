"""The API of this app: runs, corpora, instructions and disk space, for programs."""
