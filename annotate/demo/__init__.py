"""What a demonstration starts from: a project with its guidelines and prompts, and an account to look around with."""
