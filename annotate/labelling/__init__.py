"""Labelling: an item is handed out, its annotator answers, and the answer may be changed or taken back."""
