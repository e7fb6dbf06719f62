"""Measure how often a classifier is right: accuracy, F1 of each label and their mean, Matthews' correlation.

In: `data/other/*.jsonl`, rows {"text", "label", "text_b"?} (a premise with its hypothesis, too), perhaps with "id" and
"group". The parent is a classifier's folder (`training.recipes.classify.text_classifier`).

Each figure is that of scikit-learn on the same texts. Beside accuracy stands that of always giving the commonest label
of these very texts, which no text had to be read for, and the difference of the two on the same texts. A label that the
classifier does not know can never be right: such texts count as wrong, and are said.

Left out: calibration, which the classifier's own run shows; thresholds, for a text gets its likeliest label.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.splits import normalise
from evaluation.metrics import classes
from evaluation.recipes.common import result_figures
from evaluation.recipes.common.outcome import Fitted, Item, Measured
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, read_lines
from training.recipes.classify.classify_rows import read_examples
from training.recipes.classify.text_classifier import Classifier

FEWEST = 2
MOST_F1 = 50  # labels with a figure of their own
ALWAYS = "accuracy of always the commonest label"
ABOVE = "accuracy above the commonest label"


@dataclass(frozen=True)
class Text:
    id: str
    group: str
    text: str
    text_b: str
    label: str

    @property
    def key(self) -> str:
        return f"{normalise(self.text)}\n{normalise(self.text_b)}\n{self.label}"


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    texts, n_all = chosen(read(run), config.limit)
    run.progress("loading the model", 0, 1)
    classifier = Classifier.load(spec.parent)
    unknown = Counter(t.label for t in texts if t.label not in classifier.labels)
    _refuse_strangers(unknown, texts, classifier.labels)
    predictions = _predicted(run, classifier, texts, config.batch_size)
    notes = _notes(texts, n_all, unknown, classifier.labels)
    return measured_of(texts, predictions, classifier.labels, notes)


def read(run: RunDirectory) -> list[Text]:
    """Raises RecipeFailure for rows without a text and its label, and for fewer than two."""
    rows = [row for path in sorted((run.path / "data" / "other").glob("*.jsonl")) for row in read_lines(path)]
    if len(rows) < FEWEST:
        raise RecipeFailure(
            "no_texts",
            f"There {'is 1 text' if len(rows) == 1 else 'are no texts'} to classify.",
            'Choose a dataset of labelled texts, or a task of rows {"text", "label"}, as the second dataset.',
        )
    named = all(row.get("id") for row in rows)
    return [
        Text(str(row["id"] if named else number), str(row.get("group") or ""), e.text, e.text_b, e.label)
        for number, (row, e) in enumerate(zip(rows, read_examples(rows), strict=True), start=1)
    ]


def chosen(texts: list[Text], limit: int) -> tuple[list[Text], int]:
    """Return at most `limit` texts, and how many there were. They are chosen by the hash of their words, so that no
    order of the file is favoured."""
    order = sorted(range(len(texts)), key=lambda i: (hashlib.sha256(texts[i].key.encode()).hexdigest(), i))
    indices = set(order[:limit])
    return [text for i, text in enumerate(texts) if i in indices], len(texts)


def _refuse_strangers(unknown: Counter[str], texts: list[Text], labels: list[str]) -> None:
    if unknown.total() == len(texts):
        text = ", ".join(f"{label!r} ({n})" for label, n in unknown.most_common(5))
        raise RecipeFailure(
            "unknown_labels",
            f"No text has a label that this classifier knows. It knows {', '.join(map(repr, labels))}; the texts "
            f"bear {text}.",
            "Map the labels to the names of the classifier (labels, when uploading), or choose the texts of "
            "its own task.",
        )


def _predicted(
    run: RunDirectory, classifier: Classifier, texts: list[Text], batch_size: int
) -> list[tuple[str, float]]:
    """Return the likeliest label of each text, and how likely."""
    predictions: list[tuple[str, float]] = []
    step = max(batch_size, 1) * 8  # texts of about one length go together within a piece
    for start in range(0, len(texts), step):
        piece = texts[start : start + step]
        for chances in classifier.predict([(t.text, t.text_b) for t in piece], batch_size):
            predictions.append(next(iter(chances.items())))
        run.progress("classifying", len(predictions), len(texts))
    return predictions


def measured_of(
    texts: list[Text], predictions: list[tuple[str, float]], known_labels: list[str], notes: list[str]
) -> Measured:
    """Return items and figures of texts with the predicted label of each. `known_labels`: the labels of the
    classifier."""
    labels = sorted({*known_labels, *(t.label for t in texts)})
    index_of = {label: i for i, label in enumerate(labels)}
    label_counts = Counter([t.label for t in texts] + [label for label, _ in predictions])
    of_their_own = [label for label, _ in label_counts.most_common(MOST_F1)]
    items = [
        Item(
            text.id,
            text.key,
            {
                "accuracy": [float(text.label == label), 1.0],
                "macro F1": classes.counts(index_of[text.label], index_of[label], len(labels)),
                "MCC": classes.counts(index_of[text.label], index_of[label], len(labels)),
                **{
                    f"F1 of {name}": classes.counts_of_one(index_of[text.label], index_of[label], index_of[name])
                    for name in of_their_own
                },
            },
            _shown(text, label, sure),
            text.group,
            tuple(t for t in (text.text, text.text_b) if t),
        )
        for text, (label, sure) in zip(texts, predictions, strict=True)
    ]
    signature = f"assay classification 1; {len(labels)} labels: {', '.join(labels)[:100]}"
    return Measured("labelled texts", items, signature, notes=notes, fitted=_extra_figures(of_their_own))


def _shown(text: Text, label: str, sure: float) -> Row:
    second = {"text_b": text.text_b} if text.text_b else {}
    return {"text": text.text, **second, "label": text.label, "answer": label, "probability": round(sure, 4)}


def _extra_figures(labels: list[str]) -> Fitted:
    """Return the null, what the classifier has above it, and no F1 of a label that these items neither bear nor got."""

    def fitted(items: list[Item]) -> dict[str, Row | None]:
        bears = Counter(item.shown["label"] for item in items)
        commonest = max(sorted(bears), key=lambda label: bears[label])
        null = np.array([float(item.shown["label"] == commonest) for item in items])
        right = np.array([item.counts["accuracy"][0] for item in items])
        present_labels = set(bears) | {item.shown["answer"] for item in items}
        absent: dict[str, Row | None] = {f"F1 of {label}": None for label in labels if label not in present_labels}
        return {ALWAYS: result_figures.share(null), ABOVE: result_figures.mean(right - null, True, -1, 1), **absent}

    return fitted


def _notes(texts: list[Text], n_all: int, unknown: Counter[str], known_labels: list[str]) -> list[str]:
    notes = [f"{len(texts)} of {n_all} texts, chosen by the hash of their words."] if len(texts) < n_all else []
    if unknown:
        text = ", ".join(f"{label!r} ({n})" for label, n in unknown.most_common(5))
        notes.append(
            f"{unknown.total()} texts have labels that the classifier does not know ({text}; it knows "
            f"{', '.join(map(repr, known_labels))}): they count as wrong."
        )
    bears = Counter(t.label for t in texts)
    commonest, n = max(sorted(bears.items()), key=lambda item: item[1])
    notes.append(f"The most frequent label is {commonest!r}: {n} of {len(texts)} texts have it.")
    if len(bears) == 1:
        notes.append(
            "All texts have the same label: accuracy and F1 mean little, and Matthews' correlation is 0 by definition."
        )
    if len(bears) > MOST_F1:
        notes.append(f"F1 by label is given for the {MOST_F1} most frequent of {len(bears)} labels.")
    return notes
