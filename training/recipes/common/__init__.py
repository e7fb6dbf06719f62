"""Share among several recipes: start and end, load and save models, adapters, memory, steps."""
