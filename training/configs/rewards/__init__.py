"""The parts of a reward: reward models, verifiers of an answer, and judges, each with a weight and limits."""
