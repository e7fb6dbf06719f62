"""What several recipes share: start and end, load and save models, adapters, memory, steps."""
