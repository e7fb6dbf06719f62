"""Judge answers: by a reward model, a judge model behind an endpoint, or votes of people."""
