"""A classifier under the name by which programs import it: `from training.recipes.classifier import Classifier`."""

from training.recipes.classify.text_classifier import Classifier

__all__ = ["Classifier"]
