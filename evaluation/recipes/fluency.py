"""Measure how strange a model's answers are to the model that it was made from.

In: `data/answers.jsonl` and `data/about.jsonl` as `evaluation.measures.preference_rows` writes them: answers of the
model ("ours") and of its parent ("theirs") to the same eval prompts, drawn with the same settings.

A policy that is trained to please may leave the language: rare words, other scripts, emoji. People who vote on pairs
may let that pass, and a reward model rewards it. Three figures show it, each beside the parent's own. Two more say how
far training went and what it gained: KL from the parent, and with a reward model the score above the parent's. An item
is a prompt, and intervals go by prompts (`evaluation.metrics.fluency_figures` has the names).

Left out: fluency in the eyes of people; what a stronger model than the parent would say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evaluation.metrics import fluency_figures as fluency
from evaluation.recipes.common import likelihood
from evaluation.recipes.common.answer_scores import Answer, Score, score
from evaluation.recipes.common.outcome import Item, Measured
from evaluation.recipes.common.reward_scores import identity_of, scores_of
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import loading
from training.recipes.common.fluency import COMMON, RARE, foreign_share, script_shares
from training.recipes.reward.reward_model import RewardModel

OURS, THEIRS = "ours", "theirs"
MOST_SCRIPTS = 4  # named in the notes


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer with its scores: under the parent, under the model that gave it, and by the reward model in its
    standard deviations, where there is one."""

    answer: Answer
    prompt: list[Row]  # as people see it
    side: str
    prompt_id: int
    category: str
    under_parent: Score
    under_itself: Score
    reward: float | None = None


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    rows = run.rows("answers")
    if not spec.ancestor:
        raise RecipeFailure(
            "no_parent",
            "The weights of the model's parent are missing, so surprise cannot be measured.",
            "Restore the parent's folder, or measure another model.",
        )
    answers = [Answer(row.get("answered_to") or row["prompt"], row["text"], bool(row.get("cut_off"))) for row in rows]
    about = next(iter(run.rows("about")), {})
    temperature = (about.get("settings") or {}).get("temperature") or None  # None: nothing was drawn
    settings = {"length": config.max_length, "batch_size": config.batch_size, "temperature": temperature or 1.0}
    run.progress("loading the parent", 0, 1)
    model, tokenizer = likelihood.load(spec.ancestor)
    under_parent = score(run, model, tokenizer, answers, phase="under its parent", name="parent", **settings)
    del model
    own_places = [index for index, row in enumerate(rows) if row["whose"] == OURS]
    run.progress("loading the model", 0, 1)
    model, tokenizer = likelihood.load(spec.parent)
    scored = score(
        run, model, tokenizer, [answers[i] for i in own_places], phase="under itself", name="itself", **settings
    )
    del model
    own_scores = dict(zip(own_places, scored, strict=True))
    under_itself = [own_scores.get(index, under) for index, under in enumerate(under_parent)]
    rewards, judge = rewards_of(run, spec, config, [(row["prompt"], row["text"]) for row in rows])
    scored_answers = [
        ScoredAnswer(
            answer, row["prompt"], row["whose"], row["prompt_id"], row.get("category") or "", under, itself, reward
        )
        for answer, row, under, itself, reward in zip(answers, rows, under_parent, under_itself, rewards, strict=True)
    ]
    settings_text = (
        ", ".join(f"{name} {value}" for name, value in (about.get("settings") or {}).items()) or "unknown settings"
    )
    signature = (
        f"assay fluency 2; under {about.get('opponent', 'its parent')}; {settings_text}; "
        f"{loading.compute_dtype()}{judge}"
    )
    common = common_scripts(one.answer.text for one in scored_answers if one.side == THEIRS)
    # What a model thinks before its answer is kept apart, and no text says how it stood before it.
    has_kl = temperature is not None and not any(row.get("has_reasoning") for row in rows)
    items = items_of(scored_answers, common, has_kl)
    return Measured(fluency.TASK, items, signature, notes=notes_of(scored_answers, common, len(items), settings_text))


def common_scripts(texts: Iterable[str]) -> dict[str, float]:
    """Return the shares of the scripts that the parent uses more than rarely; all others are foreign."""
    return {script: share for script, share in script_shares(texts).items() if share >= RARE}


def rewards_of(
    run: RunDirectory, spec: RunSpec, config: Any, answers: list[tuple[list[Row], str]]
) -> tuple[Sequence[float | None], str]:
    """Return the score of each (prompt, answer) by the run's reward model, in its standard deviations, and words for
    the signature."""
    if not spec.reward_model:
        return [None] * len(answers), ""
    run.progress("loading the reward model", 0, 1)
    model = RewardModel.load(spec.reward_model)
    scores = scores_of(run, model, answers, config.batch_size)
    return (scores / (model.score_std or 1.0)).tolist(), f"; {identity_of(model)}"


def items_of(scored_answers: list[ScoredAnswer], common: dict[str, float], has_kl: bool) -> list[Item]:
    """Return an item for each prompt that both have answered with something to score. Answers that were not drawn, or
    that followed a reasoning, have no KL."""
    by_prompt: dict[int, list[ScoredAnswer]] = defaultdict(list)
    for one in scored_answers:
        by_prompt[one.prompt_id].append(one)
    items = []
    for prompt_id, answers in by_prompt.items():
        own_answers, parent_answers = (
            [a for a in answers if a.side == side and a.under_itself.tokens] for side in (OURS, THEIRS)
        )
        own_answers = [one for one in own_answers if one.under_parent.tokens]
        if own_answers and parent_answers:
            items.append(item_of(prompt_id, own_answers, parent_answers, common, has_kl))
    return items


def item_of(
    prompt_id: int,
    own_answers: list[ScoredAnswer],
    parent_answers: list[ScoredAnswer],
    common: dict[str, float],
    has_kl: bool,
) -> Item:
    surprise, parents_surprise = (
        [sum(one.under_parent.surprise for one in side), sum(one.under_parent.tokens for one in side)]
        for side in (own_answers, parent_answers)
    )
    entropy, parents_entropy = (
        [sum(one.under_itself.entropy for one in side), sum(one.under_itself.tokens for one in side)]
        for side in (own_answers, parent_answers)
    )
    prompt = own_answers[0].prompt
    return Item(
        str(prompt_id),
        json.dumps(prompt, ensure_ascii=False),
        {
            fluency.SURPRISE_ABOVE: [*surprise, *parents_surprise],
            fluency.SURPRISE: surprise,
            fluency.PARENTS_SURPRISE: parents_surprise,
            fluency.ENTROPY_ABOVE: [*entropy, *parents_entropy],
            fluency.ENTROPY: entropy,
            fluency.PARENTS_ENTROPY: parents_entropy,
            fluency.FOREIGN: [*foreign_of(own_answers, common), *foreign_of(parent_answers, common)],
            **({fluency.KL: log_ratio_of(own_answers)} if has_kl else {}),
            **rewards_above(own_answers, parent_answers),
        },
        {"prompt": prompt, "answer": own_answers[0].answer.text, "its parent's answer": parent_answers[0].answer.text},
        own_answers[0].category,
        searched=(str(prompt[-1].get("content", "")),),
    )


def log_ratio_of(own_answers: list[ScoredAnswer]) -> list[float]:
    """Return (log p less log p under the parent, answers): each at the temperature of the draws."""
    gaps = [one.under_parent.surprise_as_drawn - one.under_itself.surprise_as_drawn for one in own_answers]
    return [sum(gaps), len(gaps)]


def rewards_above(own_answers: list[ScoredAnswer], parent_answers: list[ScoredAnswer]) -> dict[str, list[float]]:
    """Return the mean scores of either side, where a reward model gave them: a prompt counts once on both, however
    many answers it has on one."""
    own, parents = ([one.reward for one in side if one.reward is not None] for side in (own_answers, parent_answers))
    return {fluency.SCORE_ABOVE: [fmean(own), 1, fmean(parents), 1]} if own and parents else {}


def foreign_of(answers: list[ScoredAnswer], common: dict[str, float]) -> list[float]:
    """Return (characters in scripts that are not common, characters); 1 where there is none, for a ratio's sake."""
    text = "".join(one.answer.text for one in answers)
    characters = sum(not character.isspace() for character in text)
    return [foreign_share([text], common) * characters, max(characters, 1)]


def notes_of(
    scored_answers: list[ScoredAnswer], common: dict[str, float], prompts: int, settings_text: str
) -> list[str]:
    counts = {side: sum(one.side == side for one in scored_answers) for side in (OURS, THEIRS)}
    notes = [
        f"{counts[OURS]} of its answers and {counts[THEIRS]} of its parent's on {prompts} prompts, with "
        f"{settings_text}."
    ]
    shares = script_shares(one.answer.text for one in scored_answers if one.side == OURS)
    foreign = [(script, share) for script, share in shares.items() if script != COMMON and script not in common]
    if foreign:
        text = ", ".join(f"{script.title()} {100 * share:.2g} %" for script, share in foreign[:MOST_SCRIPTS])
        notes.append(f"Share of characters in scripts that its parent hardly uses: {text}.")
    return notes
