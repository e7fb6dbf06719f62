"""Find items whose annotators disagree, and let a reviewer decide about them."""
