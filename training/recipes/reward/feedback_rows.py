"""Read what people said for a reward run: the annotated completions, their tokens, and which prompts are held out."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotate.data.datasets import preferences
from training.configs import RewardConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory
from training.core.token_table import hash_of_data, hash_of_tokenizer, number_table, token_dtype
from training.recipes.common import loading
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.answers.comparison_table import ComparisonTable
from training.recipes.reward.answers.number_index import NumberIndex
from training.recipes.reward.answers.sequences import Prompts, Sequences, first_rows
from training.recipes.reward.feedback_likelihood import Observations

AGAIN = "Freeze the dataset again."


@dataclass(frozen=True)
class Feedback:
    completions: NDArray[np.int64]  # the ids of those that were judged
    prompts: Tensor  # (N,) the prompt of each
    marked: Tensor  # (N,) True where the data say that a completion is held out
    observed: Observations
    aspects: dict[str, Observations]  # by name: every aspect is judged like stars
    informativeness: preferences.Informativeness
    # comparisons and ratings as people gave them: thumbs and stars for one answer are one, a ranking, too
    feedback_count: int


def read_feedback(run: RunDirectory) -> Feedback:
    """Return the judged completions. Raises RecipeFailure when rows are wrong or tell too little."""
    try:
        comparisons = ComparisonTable(preferences.each_comparison(run.each_row("comparisons")))
        ratings = [r for r in preferences.each_rating(run.each_row("ratings")) if r.says_something]
        aspects = aspects_from(run.each_row("ratings"))
    except (ValueError, KeyError) as error:
        raise RecipeFailure("bad_data", f"The annotations cannot be read: {error}", AGAIN) from error
    rated = [r.completion for r in ratings] + [r.completion for of_aspect in aspects.values() for r in of_aspect]
    judged = np.union1d(comparisons.completions, np.array(rated, dtype=np.int64))
    is_judged = NumberIndex(judged)
    ids, prompts, marked = array("q"), array("q"), array("b")  # texts are read when they are encoded
    for row in run.each_row("completions"):
        if row["id"] in is_judged:
            ids.append(row["id"])
            prompts.append(row["prompt_id"])
            marked.append(bool(row.get("held_out")))
    completions, prompt_of = np.array(ids, dtype=np.int64), np.array(prompts, dtype=np.int64)
    if len(missing := np.setdiff1d(judged, completions)):
        text = f"{len(missing)} annotated completions are not in the dataset, for example {missing.min()}."
        raise RecipeFailure("bad_data", text, AGAIN)
    index_of = NumberIndex(completions)
    prompt_of_rated = {r.completion: int(prompt_of[index_of[r.completion]]) for r in ratings}
    informativeness = preferences.informativeness(comparisons, ratings, prompt_of_rated)
    if not informativeness.enough:
        raise RecipeFailure(
            "too_few_judgements", f"{informativeness.sentence} {informativeness.lack}", informativeness.remedy
        )
    return Feedback(
        completions,
        torch.from_numpy(prompt_of),
        torch.from_numpy(np.array(marked, dtype=np.bool_)),
        likelihood.observe(comparisons, ratings, index_of),
        {
            name: likelihood.observe([], ratings_of_aspect, index_of)
            for name, ratings_of_aspect in sorted(aspects.items())
        },
        informativeness,
        preferences.weighed(comparisons) + len(ratings),
    )


def aspects_from(rows: Iterable[Row]) -> dict[str, list[preferences.Rating]]:
    """Return the annotations of each aspect as ratings with so many stars. Raises ValueError naming the row and what is
    wrong.

    Datasets frozen before aspects were kept have none.
    """
    ratings: dict[str, list[preferences.Rating]] = {}
    for number, row in enumerate(rows, start=1):
        for name, value in (row.get("aspects") or {}).items():
            if value not in (1, 2, 3, 4, 5, True, False):
                raise ValueError(f"rating {number}: aspect {name!r} must be 1 to 5, true or false, not {value!r}.")
            stars = 1 + int(value) if isinstance(value, bool) else int(value)
            ratings.setdefault(name, []).append(
                preferences.Rating(row["completion"], stars=stars, author=row.get("author") or 0)
            )
    return ratings


def split(feedback: Feedback, held_out: float, seed: int) -> Tensor:
    """Return (N,) True where a completion trains. Data that bring a split of their own mark completions as
    `held_out`."""
    if feedback.marked.any():
        return ~torch.isin(feedback.prompts, feedback.prompts[feedback.marked])
    return training_rows(feedback.prompts, held_out, seed)


def training_rows(prompts: Tensor, held_out: float, seed: int) -> Tensor:
    """Return (N,) True where a completion trains; whole prompts are held out, at least one."""
    unique = torch.unique(prompts)
    order = np.random.default_rng(seed).permutation(len(unique))
    kept_back = unique[torch.from_numpy(order[: max(round(held_out * len(unique)), 1)])]
    return ~torch.isin(prompts, kept_back)


def encode(run: RunDirectory, feedback: Feedback, tokenizer: Any, config: RewardConfig) -> Sequences:
    """Return the token ids of the judged completions and their prompts, from a table that is written once."""
    most = config.max_prompt_tokens, config.max_completion_tokens
    depends_on = [hash_of_data(run, "completions", "comparisons", "ratings"), hash_of_tokenizer(tokenizer), most]
    dtype = token_dtype(tokenizer)
    table = number_table(
        run, "completions", depends_on, {"prompt": dtype, "completion": dtype},
        lambda: _encoded(run, feedback, tokenizer, *most),
    )  # fmt: skip
    prompt_of = feedback.prompts.numpy()
    return Sequences(Prompts(table["prompt"], prompt_of), table["completion"], prompt_of)


def _encoded(
    run: RunDirectory, feedback: Feedback, tokenizer: Any, most_of_prompt: int, most_of_completion: int
) -> Iterator[dict[str, list[int]]]:
    """Yield the token ids of each judged completion; those of its prompt only with the first."""
    judged, is_first = NumberIndex(feedback.completions), np.zeros(len(feedback.completions), dtype=np.bool_)
    is_first[first_rows(feedback.prompts.numpy())] = True
    rows = (row for row in run.each_row("completions") if row["id"] in judged)
    for row, is_new in zip(rows, is_first, strict=True):
        yield {
            "prompt": loading.encode_prompt(tokenizer, row["prompt"], most_of_prompt) if is_new else [],
            "completion": loading.encode_completion(tokenizer, row["text"], most_of_completion),
        }


def without_empty(observed: Observations, sequences: Sequences) -> Observations:
    """Return the annotations without empty answers, which have no tokens to pool; the score of these is the lowest of
    all."""
    has_tokens = torch.from_numpy(sequences.lengths > 0)
    return observed if has_tokens.all() else observed.among(has_tokens)
