"""Make what a demonstration starts from: a project with guidelines and prompts, and an account to look around."""
