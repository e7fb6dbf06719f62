"""Label a few texts by a classifier: `python -m training.recipes.label RUN_DIR`.

result.json holds, for each text, its label and the probability of every label. Nothing is trained. For whole files
there is `training.recipes.classify_predict`.
"""

from __future__ import annotations

from training.configs.classify import LabelConfig, lines_of
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.classify.text_classifier import Classifier
from training.recipes.common.entry import config_of, run_recipe


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: LabelConfig = config_of(spec)
    texts = lines_of(config.texts)
    run.progress("Loading", 0, 1)
    classifier = Classifier.load(spec.parent)
    run.progress("Labelling", 0, 1)
    predictions = classifier.predict(texts)
    run.progress("Labelling", 1, 1)
    rows = [
        {"text": text, "label": next(iter(probabilities)), "probabilities": probabilities}
        for text, probabilities in zip(texts, predictions, strict=True)
    ]
    run.finish({"labelled": rows})


if __name__ == "__main__":
    run_recipe(main)
