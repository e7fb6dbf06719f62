"""Whole, hashed artefacts in one storage: a folder, a network file system or an object store. Knows no Django."""
