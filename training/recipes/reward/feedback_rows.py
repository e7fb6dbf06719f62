"""Read what people said for a reward run: the annotated completions, their tokens, and which prompts are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from annotate.data.datasets import preferences
from training.configs import RewardConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory
from training.recipes.common import loading
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.feedback_likelihood import Observations

AGAIN = "Freeze the dataset again."


@dataclass(frozen=True)
class Feedback:
    completions: list[Row]  # those that were judged
    prompts: Tensor  # (N,) the prompt of each
    observed: Observations
    aspects: dict[str, Observations]  # by name: every aspect is judged like stars
    informativeness: preferences.Informativeness
    # comparisons and ratings as people gave them: thumbs and stars for one answer are one, a ranking, too
    feedback_count: int


@dataclass(frozen=True)
class Sequences:
    """Token ids of every completion (N of them) and of its prompt, and the prompt's number."""

    prompts: dict[int, list[int]]
    completions: list[list[int]]
    prompt_of: list[int]

    def by_prompt(self, rows: list[int] | None = None) -> dict[int, list[int]]:
        grouped: dict[int, list[int]] = {}
        for row in range(len(self.prompt_of)) if rows is None else rows:
            grouped.setdefault(self.prompt_of[row], []).append(row)
        return grouped

    def tokens(self, rows: list[int]) -> int:
        """Return how many tokens these rows forward: each prompt once for all its completions."""
        prompts = {self.prompt_of[row] for row in rows}
        return sum(len(self.prompts[p]) for p in prompts) + sum(len(self.completions[row]) for row in rows)

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
    rating_rows = run.rows("ratings")
    try:
        comparisons = preferences.comparisons_from(run.rows("comparisons"))
        ratings = [r for r in preferences.ratings_from(rating_rows) if r.says_something]
        aspects = aspects_from(rating_rows)
    except (ValueError, KeyError) as error:
        raise RecipeFailure("bad_data", f"The annotations cannot be read: {error}", AGAIN) from error
    completion_ids = {c for x in comparisons for c in (x.completion_a, x.completion_b)} | {
        r.completion for r in ratings
    }
    completion_ids |= {r.completion for ratings_of_aspect in aspects.values() for r in ratings_of_aspect}
    rows = [row for row in run.rows("completions") if row["id"] in completion_ids]
    if missing := completion_ids - {row["id"] for row in rows}:
        text = f"{len(missing)} annotated completions are not in the dataset, for example {min(missing)}."
        raise RecipeFailure("bad_data", text, AGAIN)
    index_of = {row["id"]: i for i, row in enumerate(rows)}
    informativeness = preferences.informativeness(comparisons, ratings, {row["id"]: row["prompt_id"] for row in rows})
    if not informativeness.enough:
        raise RecipeFailure(
            "too_few_judgements", f"{informativeness.sentence} {informativeness.lack}", informativeness.remedy
        )
    return Feedback(
        rows,
        torch.tensor([row["prompt_id"] for row in rows]),
        likelihood.observe(comparisons, ratings, index_of),
        {
            name: likelihood.observe([], ratings_of_aspect, index_of)
            for name, ratings_of_aspect in sorted(aspects.items())
        },
        informativeness,
        preferences.weighed(comparisons) + len(ratings),
    )


def aspects_from(rows: list[Row]) -> dict[str, list[preferences.Rating]]:
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
    marked = torch.tensor([bool(row.get("held_out")) for row in feedback.completions])
    if marked.any():
        return ~torch.isin(feedback.prompts, feedback.prompts[marked])
    return training_rows(feedback.prompts, held_out, seed)


def training_rows(prompts: Tensor, held_out: float, seed: int) -> Tensor:
    """Return (N,) True where a completion trains; whole prompts are held out, at least one."""
    unique = torch.unique(prompts)
    order = np.random.default_rng(seed).permutation(len(unique))
    kept_back = unique[torch.from_numpy(order[: max(round(held_out * len(unique)), 1)])]
    return ~torch.isin(prompts, kept_back)


def encode(feedback: Feedback, tokenizer: Any, config: RewardConfig) -> Sequences:
    prompts: dict[int, list[int]] = {}
    for row in feedback.completions:
        if row["prompt_id"] not in prompts:
            prompts[row["prompt_id"]] = loading.encode_prompt(tokenizer, row["prompt"], config.max_prompt_tokens)
    completions = [
        loading.encode_completion(tokenizer, row["text"], config.max_completion_tokens) for row in feedback.completions
    ]
    return Sequences(prompts, completions, feedback.prompts.tolist())


def without_empty(observed: Observations, sequences: Sequences) -> Observations:
    """Return the annotations without empty answers, which have no tokens to pool; the score of these is the lowest of
    all."""
    return observed.among(torch.tensor([len(c) > 0 for c in sequences.completions]))
