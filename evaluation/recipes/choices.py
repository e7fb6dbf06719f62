"""Measure how often a model finds the right one of several endings the likeliest: zero-shot, or after examples.

In: `data/other/*.jsonl`, rows of one of six forms (`annotate.data.rows.choice_items`); without them `config.suite`:
this project's own suite, or names of lm-evaluation-harness's tasks, which it fetches from a hub.

lm-evaluation-harness is the engine (`choice_engine`), so that its figures and ours are the same. A candidate's
log-probability is compared as it is (its `acc`), by character (its `acc_norm`) and by byte (its `acc_bytes`), for a
long candidate is less likely because it is long. Where candidates differ in the middle, what follows them is scored
(its winogrande): there the three are one. Candidates that come out equal share the point, whatever their order; the
harness gives it to the first.

Left out: calibration against each candidate's own likelihood (Holtzman 2021, 2104.08315); letters as answers.
"""

from __future__ import annotations

from typing import Any

import lm_eval
import numpy as np

from annotate.data.rows.choice_items import ChoiceItem
from evaluation.recipes import suite
from evaluation.recipes.common import likelihood
from evaluation.recipes.common.choice_items import Items, read_folder, read_items
from evaluation.recipes.common.outcome import Item, Measured
from evaluation.recipes.harness_engine import SEED, HarnessModel, answers, hub_tasks, local_tasks, other_figures
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.common import loading

METRICS = ("accuracy", "accuracy per character", "accuracy per byte")


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    run.progress("reading the items", 0, 1)
    own_items = items_of(run, config)
    tasks = local_tasks(own_items, config.num_fewshot) if own_items else hub_tasks(config.suite)
    run.progress("loading the model", 0, 1)
    model, tokenizer = likelihood.load(spec.parent)
    length = loading.context_length(model, config.max_length)
    harness_model = HarnessModel(run, model, tokenizer, length, likelihood.batch_tokens(config.batch_size, length))
    results = answers(harness_model, tasks, config.num_fewshot, None if own_items else config.limit)
    if own_items:
        rows = sorted(
            (row for rows in results["samples"].values() for row in rows), key=lambda row: row["doc"]["place"]
        )
        items = [of_own(item, row) for item, row in zip(own_items.chosen, rows, strict=True)]
    else:
        items = [of_task(name, tasks[name], row) for name, rows in results["samples"].items() for row in rows]
    figures = {} if own_items else other_figures(results)
    return Measured(_task(run, config), items, _signature(run, config, length), figures, notes_of(items, own_items))


def items_of(run: RunDirectory, config: Any) -> Items | None:
    """Return None where tasks are named that the harness fetches."""
    folder = run.path / "data" / "other"
    if folder.is_dir():
        return read_items(read_folder(folder), config.limit)
    return read_items(suite.rows(), config.limit) if config.suite.strip() == suite.NAME else None


# Items


def of_own(item: ChoiceItem, row: Row) -> Item:
    values = [value for value, _ in row["filtered_resps"]]
    counts = counted(values, item.candidates, {item.answer}, partial=bool(item.suffix))
    shown = _shown(item.context, item.candidates, {item.answer}, values, item.suffix)
    searched = tuple(f"{item.context} {candidate} {item.suffix}".strip() for candidate in item.candidates)
    return Item(item.id, item.text, counts, shown, item.group, searched)


def of_task(name: str, task: Any, row: Row) -> Item:
    """Return the item of a task that the harness fetched: its own candidates, and its own word on which is right."""
    doc = row["doc"]
    candidates = tuple(task.doc_to_choice(doc))
    partial = bool(task.multiple_input)
    gold = task.doc_to_text(doc) if partial else task.doc_to_target(doc)
    right = _places(gold if isinstance(gold, list) else [gold], candidates)
    values = [value for value, _ in row["filtered_resps"]][: len(candidates)]
    context, suffix = ("", str(row["arguments"][0][1]).strip()) if partial else (str(row["arguments"][0][0]), "")
    text = "\n".join([context, *candidates, suffix])
    counts = counted(values, candidates, right, partial=partial)
    shown = _shown(context, candidates, right, values, suffix)
    searched = tuple(f"{context} {candidate} {suffix}".strip() for candidate in candidates)
    return Item(f"{name}-{row['doc_id']}", text, counts, shown, name, searched)


def _places(gold: list[Any], candidates: tuple[str, ...]) -> set[int]:
    """Return the indices of right candidates; a right answer that is not among the candidates cannot be found."""
    texts = {candidate: index for index, candidate in enumerate(candidates)}
    return {texts.get(one, -1) if isinstance(one, str) else int(one) for one in gold} & set(range(len(candidates)))


def counted(
    values: list[float], candidates: tuple[str, ...], right: set[int], *, partial: bool
) -> dict[str, list[float]]:
    """Return the point that each way of comparing gives, of one. `values`: log-probabilities of the candidates."""
    characters, sizes = ([1] * len(values),) * 2 if partial else _lengths(candidates)
    by = zip(METRICS, ([1] * len(values), characters, sizes), strict=True)
    return {name: [point(np.array(values) / np.array(lengths), right), 1.0] for name, lengths in by}


def _lengths(candidates: tuple[str, ...]) -> tuple[list[int], list[int]]:
    return [len(c) for c in candidates], [len(c.encode("utf-8", "surrogatepass")) for c in candidates]


def point(scores: np.ndarray, right: set[int]) -> float:
    """Return 1 where the highest score is a right candidate's; of several that are equally high, the share that is
    right."""
    highest = np.flatnonzero(scores == scores.max())
    return sum(int(index) in right for index in highest) / len(highest)


def _shown(context: str, candidates: tuple[str, ...], right: set[int], values: list[float], suffix: str) -> Row:
    shown: Row = {"context": context} if context else {}
    shown |= {"candidates": list(candidates)}
    shown |= {"followed by": suffix} if suffix else {}
    return shown | {
        "right": " / ".join(candidates[i] for i in sorted(right)),
        "answer": candidates[int(np.argmax(values))],
        "log-probabilities": [round(value, 4) for value in values],
    }


# What is told


def notes_of(items: list[Item], own_items: Items | None) -> list[str]:
    chances = [1 / len(item.shown["candidates"]) for item in items]
    notes = [f"Guessing is right in {100 * np.mean(chances):.1f} %."]
    ties = sum(0 < item.counts["accuracy"][0] < 1 for item in items)
    if ties:
        notes.append(
            f"{ties} items had several equally likely candidates, including the right one: they count as a fraction."
        )
    partial = sum("followed by" in item.shown for item in items)
    if partial:
        notes.append(
            f"{partial} items are scored by the text after their candidates, which has one length: by character and by "
            "byte they are not normalised."
        )
    if own_items and own_items.others:
        notes.append(f"{len(items)} of {len(items) + len(own_items.others)} items, sampled by their hash.")
    return notes


def _task(run: RunDirectory, config: Any) -> str:
    if (run.path / "data" / "other").is_dir():
        return "choices of a dataset"
    return f"suite {suite.NAME} {suite.VERSION}" if config.suite.strip() == suite.NAME else config.suite.strip()


def _signature(run: RunDirectory, config: Any, length: int) -> str:
    shots = f"{config.num_fewshot}-shot" + (f" (seed {SEED})" if config.num_fewshot else "")
    return f"lm-eval {lm_eval.__version__}; {_task(run, config)}; {shots}; {length} tokens; {loading.compute_dtype()}"
