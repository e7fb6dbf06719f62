"""Gold items: their right answers are known, and they measure the annotator."""
