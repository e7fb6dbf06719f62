"""Items whose annotators disagree, and a reviewer's decision about them."""
