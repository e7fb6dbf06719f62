"""Who judges answers: a reward model, a judge behind an endpoint, or people whose votes are there."""
