"""From a model to its first trained child in five steps: model, prompts, answers, annotations, training."""
