"""The page of a project: the loop with its counts, what needs somebody, what is next, and what happened last."""
