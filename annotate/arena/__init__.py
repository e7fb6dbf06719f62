"""The arena: blind battles between two models, and votes in them. `vote_guard` decides which votes are held."""
