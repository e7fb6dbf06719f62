"""What a judge model is told, and how its reply is read."""
