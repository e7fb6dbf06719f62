"""The API of this app: thin over the actions, with the same rules as the pages."""
