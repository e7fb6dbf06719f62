"""Score answers by the parts of a reward: reward models, verifiers, judges."""
