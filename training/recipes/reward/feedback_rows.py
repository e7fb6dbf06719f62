"""Read what people said for a reward run: the annotated completions, their tokens, and which prompts are held out."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from annotate.data.datasets import preferences
from training.configs import RewardConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory
from training.core.token_table import (
    NumberLists,
    hash_of_data,
    hash_of_tokenizer,
    number_table,
    token_dtype,
)
from training.recipes.common import loading
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.feedback_likelihood import Observations

AGAIN = "Freeze the dataset again."


@dataclass(frozen=True)
class Feedback:
    completions: list[int]  # the ids of those that were judged
    prompts: Tensor  # (N,) the prompt of each
    marked: Tensor  # (N,) True where the data say that a completion is held out
    observed: Observations
    aspects: dict[str, Observations]  # by name: every aspect is judged like stars
    informativeness: preferences.Informativeness
    # comparisons and ratings as people gave them: thumbs and stars for one answer are one, a ranking, too
    feedback_count: int


class Prompts(Mapping[int, list[int]]):
    """Read each prompt's token ids from where the first of its completions has them."""

    def __init__(self, stored: NumberLists, prompt_of: list[int]) -> None:
        self._stored, self._row_of = stored, dict[int, int]()
        for row, prompt in enumerate(prompt_of):
            self._row_of.setdefault(prompt, row)

    def __getitem__(self, prompt: int) -> list[int]:
        ids: list[int] = self._stored[self._row_of[prompt]]
        return ids

    def __iter__(self) -> Iterator[int]:
        return iter(self._row_of)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def lengths(self) -> Mapping[int, int]:
        lengths = self._stored.lengths
        return {prompt: int(lengths[row]) for prompt, row in self._row_of.items()}


@dataclass(frozen=True)
class Sequences:
    """Token ids of every completion (N of them) and of its prompt, and the prompt's number.

    Both may be read from files; lengths are in memory.
    """

    prompts: Mapping[int, list[int]]
    completions: Sequence[list[int]]
    prompt_of: list[int]

    @cached_property
    def prompt_lengths(self) -> Mapping[int, int]:
        prompts = self.prompts
        return prompts.lengths if isinstance(prompts, Prompts) else {p: len(ids) for p, ids in prompts.items()}

    @cached_property
    def lengths(self) -> Sequence[int]:
        """Return the length of each completion."""
        stored = self.completions
        return stored.lengths.tolist() if isinstance(stored, NumberLists) else [len(ids) for ids in stored]

    def __len__(self) -> int:
        return len(self.completions)

    def by_prompt(self, rows: list[int] | None = None) -> dict[int, list[int]]:
        grouped: dict[int, list[int]] = {}
        for row in range(len(self.prompt_of)) if rows is None else rows:
            grouped.setdefault(self.prompt_of[row], []).append(row)
        return grouped

    def tokens(self, rows: list[int]) -> int:
        """Return how many tokens these rows forward: each prompt once for all its completions."""
        prompts = {self.prompt_of[row] for row in rows}
        return sum(self.prompt_lengths[p] for p in prompts) + sum(self.lengths[row] for row in rows)

    def some(self, count: int) -> list[list[int]]:
        """Return the first answers of so many prompts, each after its prompt."""
        rows = [group[0] for _, group in sorted(self.by_prompt().items())]
        return [self.prompts[self.prompt_of[row]] + self.completions[row] for row in rows[:count]]

    def batches(self, size: int, tokens: int, rows: list[int] | None = None) -> list[list[int]]:
        """Return rows in batches of about `size` completions and at most about `tokens` tokens with padding.

        All completions of a prompt together, prompts of a length beside each other, the longest first: what does not
        fit into memory says so at once.
        """
        groups = sorted(self.by_prompt(rows).items(), key=lambda item: (-self.tokens(item[1]), item[0]))
        batches: list[list[int]] = []
        widest = count = 0
        for _, group in groups:
            if batches and len(batches[-1]) + len(group) <= size and (count + 1) * widest <= tokens:
                batches[-1] += group
                count += 1
            else:
                batches.append(list(group))
                widest, count = self.tokens(group), 1
        return batches


def read_feedback(run: RunDirectory) -> Feedback:
    """Return the judged completions. Raises RecipeFailure when rows are wrong or tell too little."""
    try:
        comparisons = preferences.comparisons_from(run.each_row("comparisons"))
        ratings = [r for r in preferences.ratings_from(run.each_row("ratings")) if r.says_something]
        aspects = aspects_from(run.each_row("ratings"))
    except (ValueError, KeyError) as error:
        raise RecipeFailure("bad_data", f"The annotations cannot be read: {error}", AGAIN) from error
    completion_ids = {c for x in comparisons for c in (x.completion_a, x.completion_b)} | {
        r.completion for r in ratings
    }
    completion_ids |= {r.completion for ratings_of_aspect in aspects.values() for r in ratings_of_aspect}
    ids, prompts, marked = array("q"), array("q"), array("b")  # texts are read when they are encoded
    for row in run.each_row("completions"):
        if row["id"] in completion_ids:
            ids.append(row["id"])
            prompts.append(row["prompt_id"])
            marked.append(bool(row.get("held_out")))
    if missing := completion_ids.difference(ids):
        text = f"{len(missing)} annotated completions are not in the dataset, for example {min(missing)}."
        raise RecipeFailure("bad_data", text, AGAIN)
    index_of = {completion: i for i, completion in enumerate(ids)}
    informativeness = preferences.informativeness(comparisons, ratings, dict(zip(ids, prompts, strict=True)))
    if not informativeness.enough:
        raise RecipeFailure(
            "too_few_judgements", f"{informativeness.sentence} {informativeness.lack}", informativeness.remedy
        )
    return Feedback(
        list(ids),
        torch.tensor(prompts.tolist()),
        torch.tensor(marked.tolist(), dtype=torch.bool),
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
        lambda: _encoded(run, set(feedback.completions), tokenizer, *most),
    )  # fmt: skip
    prompt_of = feedback.prompts.tolist()
    return Sequences(Prompts(table["prompt"], prompt_of), table["completion"], prompt_of)


def _encoded(
    run: RunDirectory, judged: set[int], tokenizer: Any, most_of_prompt: int, most_of_completion: int
) -> Iterator[dict[str, list[int]]]:
    """Yield the token ids of each judged completion; those of its prompt only with the first."""
    encoded_prompts: set[int] = set()
    for row in run.each_row("completions"):
        if row["id"] not in judged:
            continue
        is_new = row["prompt_id"] not in encoded_prompts
        encoded_prompts.add(row["prompt_id"])
        yield {
            "prompt": loading.encode_prompt(tokenizer, row["prompt"], most_of_prompt) if is_new else [],
            "completion": loading.encode_completion(tokenizer, row["text"], most_of_completion),
        }


def without_empty(observed: Observations, sequences: Sequences) -> Observations:
    """Return the annotations without empty answers, which have no tokens to pool; the score of these is the lowest of
    all."""
    return observed.among(torch.tensor(sequences.lengths) > 0)
