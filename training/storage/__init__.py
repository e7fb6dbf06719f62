"""Measure what runs and models take on the disk, and delete checkpoints that may go."""
