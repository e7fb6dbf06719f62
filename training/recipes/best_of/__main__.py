"""Keep the best of N answers by a reward model: `python -m training.recipes.best_of RUN_DIR`.

Draws `candidates` answers of the parent for each answer that is kept, appends them to candidates.jsonl, scores all of
them, and keeps the one with the highest score (Stiennon et al., 2020, 2009.01325). Its KL from the parent is at most
log N − (N − 1)/N (Beirami et al., 2024, 2401.01879), whatever the reward model says.

As the kind `best_of` it leaves completions.jsonl: answers of a policy that has no weights, only a way of choosing. As
`rejection` it leaves a dataset of examples for SFT (RAFT; Dong et al., 2023, 2304.06767).
"""

from __future__ import annotations

import json
import math
import time

import numpy as np

from training.configs.best_of import BestOfOptions
from training.core.run_directory import (
    RecipeFailure,
    Row,
    RunDirectory,
    RunSpec,
    append_whole,
    drop_torn_line,
    read_lines,
)
from training.recipes.best_of import bulk_sampling
from training.recipes.common.entry import config_of, prompts_of, run_recipe
from training.recipes.rewards.scoring import (
    Messages,
    TextScorer,
    is_of_answer,
    refuse_none_or_both,
    require_trust,
    text_scorer_for,
    trust_rows,
)

CANDIDATES = "candidates.jsonl"
SCORED_AT_ONCE = 64


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: BestOfOptions = config_of(spec)
    refuse_none_or_both(spec, config)
    require_trust(spec, config)
    started = time.perf_counter()
    prompts = _chosen(prompts_of(run, "Freeze a dataset of prompts, then start the run again."), spec, config)
    scorer = text_scorer_for(spec, config, prompts, run)
    candidates = _draw(run, spec, config, prompts)
    messages = {row["id"]: row["messages"] for row in prompts}
    scores, parts = _scores(run, scorer, [messages[row["prompt_id"]] for row in candidates], candidates)
    kept = best(candidates, scores, config.candidates)
    result = {
        **_result(candidates, scores, kept, config),
        **_part_means(parts, kept),
        **trust_rows(spec, config, run),
        "seconds": time.perf_counter() - started,
    }
    if spec.kind == "rejection":
        result |= _write_examples(run, messages, [candidates[place] for place in kept])
    else:
        rows = [{**candidates[place], "index": n % config.completions_per_prompt} for n, place in enumerate(kept)]
        written = {(row["prompt_id"], row["index"]) for row in read_lines(run.path / "completions.jsonl")}
        run.log_completions(*(row for row in rows if (row["prompt_id"], row["index"]) not in written))
    run.finish(result)


def best(candidates: list[Row], scores: np.ndarray, size: int) -> list[int]:
    """Return the place of the highest score of each `size` candidates of a prompt, in the order of prompt and index.

    Of equal scores the first counts, so that a score that says nothing keeps what the parent would have said.
    """
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i]["prompt_id"], candidates[i]["index"]))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    return [max(group, key=lambda i: (scores[i], -candidates[i]["index"])) for group in groups]


def kl_bound(candidates: int) -> float:
    """Return the most nats by which best-of-N can be away from its parent."""
    return math.log(candidates) - (candidates - 1) / candidates


def _chosen(prompts: list[Row], spec: RunSpec, config: BestOfOptions) -> list[Row]:
    most = getattr(config, "max_prompts", 0)
    if not most or most >= len(prompts):
        return prompts
    return [prompts[i] for i in np.random.default_rng([spec.seed, 0]).permutation(len(prompts))[:most]]


def _draw(run: RunDirectory, spec: RunSpec, config: BestOfOptions, prompts: list[Row]) -> list[Row]:
    path = run.path / CANDIDATES
    drop_torn_line(path)
    done = list(read_lines(path))
    with path.open("ab", buffering=0) as file:
        bulk_sampling.draw(
            run, spec, config, prompts, count=config.drawn_per_prompt, done=done,
            write=lambda row: append_whole(file, json.dumps(row, ensure_ascii=False) + "\n"),
        )  # fmt: skip
    return list(read_lines(path))


def _scores(
    run: RunDirectory, scorer: TextScorer, messages: list[Messages], candidates: list[Row]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return (K,) scores, a reward model's in its standard deviations, and what each part of a reward says, (K,)."""
    scores: list[float] = []
    parts: dict[str, list[float]] = {}
    for start in range(0, len(candidates), SCORED_AT_ONCE):
        run.progress("scoring", start, len(candidates))
        end = start + SCORED_AT_ONCE
        scored = scorer(messages[start:end], [row["text"] for row in candidates[start:end]])
        scores += scored.scores.tolist()
        for name, values in scored.figures.items():
            parts.setdefault(name, []).extend(values.tolist())
    return np.array(scores), {name: np.array(values) for name, values in parts.items()}


def _part_means(parts: dict[str, np.ndarray], kept: list[int]) -> Row:
    """Return the means of each part over all candidates and over those kept; {} for a reward without parts."""
    means = {
        name.removeprefix("reward_"): {"candidates": float(values.mean()), "kept": float(values[kept].mean())}
        for name, values in parts.items()
        if is_of_answer(name)
    }
    return {"parts": means} if means else {}


def _result(candidates: list[Row], scores: np.ndarray, kept: list[int], config: BestOfOptions) -> Row:
    return {
        "candidates": len(candidates),
        "first_score": float(scores.mean()),
        "last_score": float(scores[kept].mean()),
        "last_kl": kl_bound(config.candidates),
        "tokens_drawn": sum(row["tokens"] for row in candidates),
        "how_to_read": "first_score is the mean of all candidates, last_score of those kept. last_kl is the upper "
        "bound log N − (N − 1)/N of the KL from the parent.",
    }


def _write_examples(run: RunDirectory, messages: dict[int, Messages], rows: list[Row]) -> Row:
    """Write the dataset, and return its counts for the result. Empty answers teach nothing."""
    spoken = [row for row in rows if row["text"].strip()]
    if not spoken:
        raise RecipeFailure(
            "no_examples", "Every answer that was kept is empty.", "Raise max_new_tokens, or start from another model."
        )
    examples = [
        {
            "prompt": messages[row["prompt_id"]],
            "completion": row["text"],
            **({"is_cut": True} if row["finish_reason"] == "length" else {}),
        }
        for row in spoken
    ]
    folder = run.begin_dataset()
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in examples)
    (folder / "examples.jsonl").write_text(text, encoding="utf-8")
    run.commit_dataset()
    prompts = len({row["prompt_id"] for row in spoken})
    return {"counts": {"examples": len(examples), "prompts": prompts, "left_out": {"empty": len(rows) - len(spoken)}}}


if __name__ == "__main__":
    run_recipe(main)
