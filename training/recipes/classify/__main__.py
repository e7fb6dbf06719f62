"""Finetune for a task: a text gets one of a few labels. `python -m training.recipes.classify RUN_DIR`.

In: `data/rows.jsonl`, {"text", "label", "text_b"?} (or premise and hypothesis), and perhaps `data/other/rows.jsonl` to
test on. Out: a folder that `transformers.AutoModel` loads, with a head beside it
(`training.recipes.classify.text_classifier`).

    [text][blank line, second text] -> trunk -> mean over tokens, or the last one -> standardise -> linear head, float32

1. Split: texts that differ in case and white space alone are one text; of each label a share is held out, by hash.
2. `head`: the trunk stays frozen and the head is a convex fit. `lora`, `full`: AdamW on cross-entropy, in an order that
   the seed and the epoch decide, so that a run killed at any moment ends with the weights it would have had.
3. Measure the saved model itself on the held-out texts, beside always giving the commonest label.

Left out: choice of the best epoch by held-out texts, which would flatter the figures they give; layer-wise rates.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from common import atomic_files
from common.texts import percent
from training.configs import ClassifyConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, read_lines, step_of
from training.recipes.classify import classify_head
from training.recipes.classify import classify_measures as measured
from training.recipes.classify.classifier_finetuning import FEATURE_BATCH, finetune
from training.recipes.classify.classify_rows import Example, Split, read_examples, split
from training.recipes.classify.text_classifier import Classifier, Head, encode, load_trunk
from training.recipes.common import loading, steps
from training.recipes.common.entry import config_of, run_recipe

MISTAKES = 30


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: ClassifyConfig = config_of(spec)
    started_at = time.monotonic()
    run.progress("Reading the texts", 0, 1)
    data = read_split(run, config)
    run.progress("Loading the model", 0, 1)
    classifier = load_classifier(spec, config, data.labels)
    train = encoded(classifier, data.train)
    held_out = encoded(classifier, data.held_out)
    weights = label_weights(train[1], len(data.labels), config.balanced)

    if config.adapters == "head":
        facts = fit_head(run, classifier, train, weights, config)
    else:
        facts = finetune(run, spec, config, classifier, train, held_out, weights)

    run.progress("Saving", 0, 1)
    refuse_what_is_not_finite(classifier)
    folder = run.begin_model()
    fidelity = classifier.save(folder, Path(spec.parent), config.adapters)
    run.progress("Measuring on held-out texts", 0, 1)
    saved = Classifier.load(folder)  # what is told is true of the model that was saved
    probabilities = saved.probabilities(held_out[0], FEATURE_BATCH).numpy().astype(np.float64)
    write_mistakes(run, data, probabilities)
    result = result_of(data, train[1].numpy(), held_out[1].numpy(), probabilities, spec)
    facts |= {
        "fidelity": fidelity,
        "parameters": loading.count_parameters(saved.trunk) + saved.head.weight.numel() + len(data.labels),
    }
    run.commit_model()
    run.finish(
        {
            **result,
            **facts,
            "fidelity": fidelity,
            "hash": loading.weights_hash(run.model),
            "seconds": time.monotonic() - started_at,
        }
    )


def read_split(run: RunDirectory, config: ClassifyConfig) -> Split:
    examples = read_examples(run.rows("rows"))
    test = read_examples(read_lines(run.path / "data" / "other" / "rows.jsonl"))
    allowed = [name.strip() for name in config.labels.split(",") if name.strip()]
    return split(examples, test, share=config.held_out_share, allowed=allowed or None)


def load_classifier(spec: RunSpec, config: ClassifyConfig, labels: list[str]) -> Classifier:
    trunk, tokenizer = load_trunk(spec.parent, torch.float32 if config.adapters == "full" else None)
    length = loading.context_length(trunk, config.max_length)
    head = Head(trunk.config.hidden_size, len(labels)).to(loading.device())
    return Classifier(trunk, tokenizer, head, labels, config.pooling, length)


def encoded(classifier: Classifier, examples: list[Example]) -> tuple[list[list[int]], Tensor]:
    """Return token ids and label numbers (N,)."""
    ids = [encode(classifier.tokenizer, e.text, e.text_b, classifier.max_length) for e in examples]
    if empty := [e for e, row in zip(examples, ids, strict=True) if not row]:
        raise RecipeFailure("empty_text", f"The text {empty[0].text!r} has no tokens.", "Leave such texts out.")
    return ids, torch.tensor([classifier.labels.index(e.label) for e in examples])


def label_weights(labels: Tensor, classes: int, balanced: bool) -> Tensor:
    """Return (K,): ones, or so that every label weighs the same in the loss."""
    counts = torch.bincount(labels, minlength=classes).float()
    return len(labels) / (classes * counts) if balanced else torch.ones(classes)


# The head alone


def fit_head(
    run: RunDirectory, classifier: Classifier, train: tuple[list[list[int]], Tensor], weights: Tensor, config: Any
) -> Row:
    features = frozen_features(run, classifier, train[0], config.checkpoint_every)
    run.progress("Fitting the head", 0, 1)
    classifier.head.standardise_by(features)
    standardised = (features - classifier.head.feature_mean) / classifier.head.feature_std
    fitted = classify_head.fit(
        standardised.cpu().double().numpy(), train[1].numpy(), len(classifier.labels), weights.cpu().double().numpy()
    )
    with torch.no_grad():
        classifier.head.weight.copy_(torch.tensor(fitted.weight))
        classifier.head.bias.copy_(torch.tensor(fitted.bias))
    return {
        "penalty": fitted.penalty,
        "cross_validated_loss": min(fitted.losses.values()),
        "steps": math.ceil(len(train[0]) / FEATURE_BATCH),
        "adapters": "head",
    }


def frozen_features(run: RunDirectory, classifier: Classifier, ids: list[list[int]], every: int) -> Tensor:
    """Return (N, H), computed in the texts' own order, so that a killed run goes on where it was."""
    checkpoint = run.latest_checkpoint()
    run.truncate_logs(step_of(checkpoint) if checkpoint else 0)
    parts = list(load_file(checkpoint / "features.safetensors")["features"].split(FEATURE_BATCH)) if checkpoint else []
    total, pace = math.ceil(len(ids) / FEATURE_BATCH), steps.Pace()
    for step in range(len(parts) + 1, total + 1):
        batch = ids[(step - 1) * FEATURE_BATCH : step * FEATURE_BATCH]
        parts.append(classifier.features(batch, FEATURE_BATCH).cpu())
        speed = pace.tokens_per_second(sum(map(len, batch)))
        run.log_metrics(step, tokens_per_second=speed, peak_memory_gb=steps.peak_memory_gb(loading.device()))
        run.progress("Reading the texts with the frozen model", step, total)
        if step % every == 0 and step < total:
            save_file({"features": torch.cat(parts)}, run.begin_checkpoint(step) / "features.safetensors")
            run.commit_checkpoint(step)
    return torch.cat(parts).to(loading.device())


def refuse_what_is_not_finite(classifier: Classifier) -> None:
    if not all(torch.isfinite(p).all() for p in (*classifier.trunk.parameters(), *classifier.head.parameters())):
        raise RecipeFailure(
            "not_finite",
            "Training diverged: some weights are not finite.",
            "Queue it again with a lower learning_rate.",
        )


# What came of it


def result_of(data: Split, train: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, spec: RunSpec) -> Row:
    table = measured.confusion(truth, probabilities.argmax(axis=1), len(data.labels))
    measures = {name: asdict(e) for name, e in measured.measures(truth, probabilities, spec.seed).items()}
    baseline = measured.majority(train, truth)
    accuracy = measures["accuracy"]
    beats = accuracy["lower"] > baseline.value
    per_label = [
        {"label": label, "precision": p, "recall": r, "f1": f, "n": n}
        for label, (p, r, f, n) in zip(data.labels, measured.by_class(table), strict=True)
    ]
    return {
        "verdict": f"{percent(accuracy['value'], 1)} of {len(truth)} held-out texts get the right label; the most "
        f"frequent label is right for {percent(baseline.value, 1)}.",
        "why": "" if beats else "This is not better than chance: use more texts, or labels that depend on the text.",
        "beats_chance": bool(beats),
        "held_out": measures | {"majority_accuracy": asdict(baseline)},
        "labels": data.labels,
        "per_label": per_label,
        "confusion": table.tolist(),
        "reliability": [asdict(b) for b in measured.reliability(truth, probabilities)],
        "texts": len(data.train),
        "held_out_texts": len(data.held_out),
        "texts_by_label": dict(Counter(e.label for e in data.train)),
        "left_out": data.left_out,
        "signature": f"held out by {data.held_out_by}; n {len(truth)}; {loading.compute_dtype()}",
    }


def write_mistakes(run: RunDirectory, data: Split, probabilities: np.ndarray) -> None:
    """Write the surest of its mistakes first: they show best what it has not understood. For reviewers: they hold
    texts."""
    wrong: list[Row] = [
        {
            "text": example.text,
            "text_b": example.text_b,
            "label": example.label,
            "predicted": data.labels[int(row.argmax())],
            "probability": float(row.max()),
        }
        for example, row in zip(data.held_out, probabilities, strict=True)
        if data.labels[int(row.argmax())] != example.label
    ]
    wrong.sort(key=lambda row: -row["probability"])
    atomic_files.write_text(run.path / "mistakes.json", json.dumps(wrong[:MISTAKES], ensure_ascii=False))


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_warning()
    run_recipe(main)
