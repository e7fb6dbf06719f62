"""Keep a finished project as a fixture, load it as the sample project, and remove it again."""
