"""Ask people for their opinion of a run while it trains, beside the reward model's."""
