"""The playground: talk with one or two models by name."""
