"""How many telling judgements does a reward head need? `python -m benchmarks.reward_learning_curve COMPLETIONS MODEL`

COMPLETIONS is a JSONL file of sampled answers
({"id", "prompt_id", "prompt", "text"}), MODEL the folder of the model whose hidden
states are pooled. Simulated judges with tastes of known kinds compare answers with 10 % noise; the head is fitted
on n pairs with a winner (or n rarer thumbs) of four fifths of the prompts, and measured by the AUC of the *true* taste
on the answers to the rest. This is where `annotate.data.datasets.preferences.ENOUGH` comes from.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from annotate.data.datasets.preferences import Comparison, Rating
from benchmarks.refusal import require_file, require_model
from common.roc_auc import of_labels
from training.recipes.common import loading
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import head_fit
from training.recipes.reward.answers.sequences import Sequences
from training.recipes.reward.designs.design import Design
from training.recipes.reward.designs.thread_counts import one_thread
from training.recipes.reward.pooled_forwards import pooled_batch, tokens_at_once

TASTES: dict[str, Callable[[str], bool]] = {
    "addresses a person": lambda t: bool(re.search(r"\byou(r)?\b", t, re.IGNORECASE)),
    "first person": lambda t: bool(re.search(r"\b(I|my|me|we|our)\b", t)),
    "a digit, under 60 words": lambda t: bool(re.search(r"\d", t)) and len(t.split()) < 60,
    "asks or exclaims": lambda t: "?" in t or "!" in t,
    "makes a comparison": lambda t: bool(re.search(r"\b(like|than|as if)\b", t)),
}
SIZES = (20, 40, 60, 80, 120, 200)
REPEATS, NOISE, RIDGE = 5, 0.1, 3.0


def main(completions: Path, folder: Path) -> None:
    rows = [json.loads(line) for line in completions.open(encoding="utf-8")]
    pooled, prompts = features(rows, folder), torch.tensor([row["prompt_id"] for row in rows])
    print(f"{'':28}" + "".join(f"{n:>8}" for n in SIZES))
    for name, taste in TASTES.items():
        fits = np.array([taste(row["text"]) for row in rows])
        for kind in ("pairs", "thumbs"):
            cells = [
                np.mean(found) if (found := curve(pooled, prompts, fits, n, kind)) else float("nan") for n in SIZES
            ]
            print(f"{name[:20]:20} {fits.mean():4.0%} {kind:7}" + "".join(f"{c:8.3f}" for c in cells), flush=True)


def features(rows: list[dict], folder: Path) -> torch.Tensor:
    model, tokenizer = loading.load_policy(folder)
    layers = model.config.num_hidden_layers
    wanted = ((layers // 2, "mean"), (2 * layers // 3, "mean"))
    prompts = {row["prompt_id"]: loading.encode_prompt(tokenizer, row["prompt"], 256) for row in rows}
    texts = [loading.encode_completion(tokenizer, row["text"], 256) for row in rows]
    sequences = Sequences(prompts, texts, [row["prompt_id"] for row in rows])
    pooled = torch.zeros(len(rows), len(wanted) * model.config.hidden_size)
    with torch.inference_mode():
        for batch in sequences.batches(32, tokens_at_once(model.device, trains=False)):
            pooled[batch] = pooled_batch(model, sequences, batch, wanted, tokenizer.pad_token_id)
    return pooled


def curve(pooled: torch.Tensor, prompts: torch.Tensor, fits: np.ndarray, n: int, kind: str) -> list[float]:
    """The AUC of the true taste on unseen prompts, for each repeat that has n telling judgements to offer."""
    found = []
    for seed in range(REPEATS):
        rng = random.Random(seed)
        unseen = head_fit.folds_by_prompt(prompts, 5, seed) == 0
        seen = torch.nonzero(~unseen)[:, 0]
        judged = pairs(prompts, fits, seen.tolist(), n, rng) if kind == "pairs" else thumbs(fits, seen.tolist(), n, rng)
        if judged is None:
            continue
        observed = likelihood.observe(*judged, {i: i for i in range(len(fits))})
        with one_thread():
            head = head_fit.fit(Design.of(pooled, seen), observed, RIDGE, tolerance=1e-6)
        found.append(of_labels(head.scores(pooled)[unseen].numpy(), fits[unseen.numpy()].astype(float)))
    return found


def pairs(prompts, fits, seen, n, rng):
    """n comparisons with a winner, of answers that differ; the judge errs at the rate NOISE."""
    by_prompt: dict[int, list[int]] = {}
    for i in seen:
        by_prompt.setdefault(int(prompts[i]), []).append(i)
    differ = [(p, a, b) for p, mine in by_prompt.items() for a, b in combinations(mine, 2) if fits[a] != fits[b]]
    if len(differ) < n:
        return None
    chosen = rng.sample(differ, n)
    return [
        Comparison(p, a, b, "model_a" if bool(fits[a]) != (rng.random() < NOISE) else "model_b") for p, a, b in chosen
    ], []


def thumbs(fits, seen, n, rng):
    """Thumbs on answers drawn until n of the rarer kind are among them, with the errors of a judge."""
    given = []
    for i in rng.sample(seen, len(seen)):
        given.append(Rating(i, thumbs=bool(fits[i]) != (rng.random() < NOISE)))
        up = sum(bool(r.thumbs) for r in given)
        if min(up, len(given) - up) >= n:
            return [], given
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("completions", "model"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    main(require_file(given.completions, "sampled answers"), require_model(given.model))
