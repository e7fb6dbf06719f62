"""Hold the data: prompts, formats of other tools, imports, exports, uploads and frozen datasets."""
