"""Read what DPO and KTO learn from: the annotations of a frozen preferences dataset, as token ids.

Every completion is token for token what the policy meets and writes:

    [chat-template prompt, cut from the left][completion, cut from the right][EOS, unless the completion was cut]

Prompts are split once: a share is held out, the same prompts for the same dataset and seed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotate.data.datasets import preferences
from common.texts import percent
from training.configs.preference import PreferenceConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory
from training.core.token_table import hash_of_data, hash_of_tokenizer, number_table, token_dtype
from training.recipes.common import loading
from training.recipes.reward.reward_accuracy import Estimate, Judged, measures

LEAST_HELD_OUT = 1


@dataclass(frozen=True)
class Judgements:
    """Completions as token ids, read one at a time, and what was said of them by index into these."""

    prompts: Sequence[list[int]]
    completions: Sequence[list[int]]
    prompt_ids: np.ndarray  # (N,) the prompt of each completion
    held_out: np.ndarray  # (N,) bool, whole prompts
    pairs: np.ndarray  # (P, 2) chosen, rejected
    pair_weights: np.ndarray  # (P,) 1, or what a ranking's pairs have of it each
    thumbs: np.ndarray  # (R, 2) completion, 1 up or 0 down
    fingerprint: str = ""  # of what the token ids depend on

    def training_thumbs(self) -> np.ndarray:
        return self.thumbs[~self.held_out[self.thumbs[:, 0]]]

    def whole(self, i: int) -> list[int]:
        return self.prompts[i] + self.completions[i]

    def texts(self) -> Iterator[list[int]]:
        """Yield prompt and completion as one, those held out first."""
        return (self.whole(i) for i in np.argsort(~self.held_out, kind="stable").tolist())

    def held_out_completions(self) -> np.ndarray:
        """Return the completions that are measured, in their order, each once."""
        judged = self.judged_held_out()
        return np.unique(np.concatenate([judged.chosen, judged.rejected, judged.thumbed]))

    def judged_held_out(self) -> Judged:
        pairs = self.pairs[self.held_out[self.pairs[:, 0]]]
        thumbs = self.thumbs[self.held_out[self.thumbs[:, 0]]]
        nothing = np.zeros(0, dtype=np.int64)
        return Judged(
            pairs[:, 0], pairs[:, 1], thumbs[:, 0], thumbs[:, 1].astype(np.float64), nothing, nothing.astype(np.float64)
        )


def read(run: RunDirectory, tokenizer: Any, config: PreferenceConfig, seed: int) -> Judgements:
    """Return the annotations. Raises RecipeFailure when a row is wrong."""
    try:
        comparisons = preferences.comparisons_from(run.each_row("comparisons"))
        ratings = preferences.ratings_from(run.each_row("ratings"))
    except (ValueError, KeyError) as error:
        raise RecipeFailure(
            "bad_data", f"The annotations cannot be read: {error}", "Freeze the dataset again."
        ) from error
    ids, prompt_numbers = array("q"), array("q")
    for row in usable_rows(run):
        ids.append(row["id"])
        prompt_numbers.append(row["prompt_id"])
    index_of = {completion: i for i, completion in enumerate(ids)}
    usable = [p for p in preferences.pairs(comparisons) if p.chosen in index_of and p.rejected in index_of]
    pairs = [(index_of[p.chosen], index_of[p.rejected]) for p in usable]
    thumbs = [
        (index_of[r.completion], int(r.thumbs)) for r in ratings if r.thumbs is not None and r.completion in index_of
    ]
    prompt_ids = np.array(prompt_numbers, dtype=np.int64)
    depends_on = [
        hash_of_data(run, "completions"), hash_of_tokenizer(tokenizer),
        (config.max_prompt_tokens, config.max_completion_tokens),
    ]  # fmt: skip
    prompts, completions = store_completions(run, tokenizer, config, depends_on)
    return Judgements(
        prompts=prompts,
        completions=completions,
        prompt_ids=prompt_ids,
        held_out=split(prompt_ids, pairs, thumbs, config.held_out, seed),
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        pair_weights=np.array([p.weight for p in usable]),
        thumbs=np.array(thumbs, dtype=np.int64).reshape(-1, 2),
        fingerprint=str(depends_on),
    )


def usable_rows(run: RunDirectory) -> Iterator[Row]:
    """Yield the completions with a text: an empty answer can be neither liked nor disliked token by token."""
    return (row for row in run.each_row("completions") if row["text"].strip())


def store_completions(
    run: RunDirectory, tokenizer: Any, config: PreferenceConfig, depends_on: list[Any]
) -> tuple[Sequence[list[int]], Sequence[list[int]]]:
    """Return the token ids of each completion's prompt, and of each completion, encoded once for all attempts."""

    def encoded() -> Iterator[dict[str, list[int]]]:
        for row in usable_rows(run):
            prompt = loading.encode_prompt(tokenizer, row["prompt"], config.max_prompt_tokens)
            yield {"prompt": prompt, "completion": _encode(tokenizer, row, config.max_completion_tokens)}

    dtype = token_dtype(tokenizer)
    table = number_table(run, "completions", depends_on, {"prompt": dtype, "completion": dtype}, encoded)
    return table["prompt"], table["completion"]


def first_messages(run: RunDirectory, data: Judgements, rows: np.ndarray, count: int) -> list[Any]:
    """Return the prompts of the first of these completions, of `count` prompts at most, in their order."""
    numbers = list(dict.fromkeys(data.prompt_ids[rows].tolist()))[:count]
    messages: dict[int, Any] = {}
    for row in usable_rows(run):
        if row["prompt_id"] in numbers:
            messages.setdefault(row["prompt_id"], row["prompt"])
        if len(messages) == len(numbers):
            break
    return [messages[number] for number in numbers]


def _encode(tokenizer: Any, row: Row, most: int) -> list[int]:
    ids = loading.encode_completion(tokenizer, row["text"], most + 1)
    is_whole = len(ids) <= most and row.get("finish_reason") != "length" and not row.get("is_cut")
    return [*ids, tokenizer.eos_token_id] if is_whole else ids[:most]


def split(
    prompt_ids: np.ndarray, pairs: list[tuple[int, int]], thumbs: list[tuple[int, int]], share: float, seed: int
) -> np.ndarray:
    """Return (N,) True where a completion is held out: a share of the judged prompts, at least one."""
    annotated_prompts = {int(prompt_ids[i]) for i, _ in [*pairs, *thumbs]}
    order = np.random.default_rng(seed).permutation(sorted(annotated_prompts))
    return np.isin(prompt_ids, order[: max(round(share * len(order)), LEAST_HELD_OUT)])


def held_out_figures(rewards: np.ndarray, data: Judgements, seed: int) -> dict[str, Estimate | None]:
    """Return whether the policy, relative to its parent, favours what people preferred on prompts that trained nothing;
    `rewards` (N,) are the implicit rewards of all completions."""
    return {
        name: figure
        for name, figure in measures(rewards, data.judged_held_out(), data.prompt_ids, seed).items()
        if name != "stars_spearman"
    }


def verdict(figures: dict[str, Estimate | None]) -> str:
    sentences: dict[str, Callable[[Estimate], str]] = {
        "pair_accuracy": lambda e: f"favours the preferred answer in {percent(e.value)} of {e.n} pairs",
        "thumbs_auc": lambda e: f"ranks answers by their thumbs with AUC {e.value:.2f} ({e.n} thumbs)",
    }
    spoken = [
        f"{sentences[name](e)} (95 % interval {e.lower:.2f} to {e.upper:.2f})"
        for name, e in figures.items()
        if e is not None
    ]
    if not spoken:
        return "There are no annotations on the held-out prompts, so only blind votes can show whether it got better."
    return (
        f"On held-out prompts, compared with its parent, it {'; '.join(spoken)}. Whether its own answers are better, "
        "blind votes tell."
    )
