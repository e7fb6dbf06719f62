"""What runs and models take on the disk, and which checkpoints may go."""
