"""Export a project's feedback as a file of any format."""
