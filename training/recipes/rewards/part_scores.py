"""Score answers by each part of a reward, and add the parts up: reward = sum of weight × value within its limits.

A reward model counts in standard deviations of its own training, so that weights mean the same from one to the next. An
ensemble is the mean of its models' scores less `spread_penalty` times the deviation over them, which is large where
the models have learnt nothing that would tell (Coste 2023, 2310.02743). A model whose head reads the policy's own
parent is scored by the forward that is made for the KL anyway, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from training.configs.rewards import reward_parts
from training.configs.rewards.reward_parts import ModelPart, RewardPart
from training.core.run_directory import RecipeFailure, Row, RunSpec
from training.recipes.common import loading
from training.recipes.reward.reward_model import RewardModel
from training.rl.rollout import Rollout

Messages = list[dict[str, str]]
OUTSIDE = 3.0  # standard deviations of the scores of a reward model's training


@dataclass(frozen=True)
class Answered:
    """Hold answers to score. `hidden` and `rollout` are of the parent's forward, {} and None where there is none;
    `references` the prompts' own answers."""

    prompts: Sequence[Messages]
    texts: Sequence[str]
    references: Sequence[str]
    hidden: dict[int, Tensor]
    rollout: Rollout | None


@dataclass(frozen=True)
class PartScore:
    """Hold what a part says of (B,) answers: its value; by the second heads of its models, where they have one; the
    deviation over several models; which scores are outside the range of a model's training; and what else is watched,
    by name."""

    value: Tensor
    gold: Tensor | None = None
    spread: Tensor | None = None
    outside: Tensor | None = None
    watched: dict[str, Tensor] = field(default_factory=dict)


class Scoring(Protocol):
    def __call__(self, answered: Answered) -> PartScore: ...


@dataclass(frozen=True)
class Scored:
    """Hold (B,) scores, the same with second heads in place of first ones where there are any, and by the names of
    figures what parts say."""

    scores: Tensor
    gold: Tensor | None = None
    figures: dict[str, Tensor] = field(default_factory=dict)


class Parts:
    """Score answers by all parts."""

    def __init__(self, parts: Sequence[RewardPart], scorings: Sequence[Scoring], references: dict[Any, str]) -> None:
        self.parts, self.scorings, self.references = tuple(parts), tuple(scorings), references
        self.names = reward_parts.part_names(self.parts)

    @property
    def models(self) -> list[RewardModel]:
        """Return all reward models, in the order of the parts."""
        return [model for one in self.scorings if isinstance(one, Ensemble) for model in one.models]

    def __call__(
        self,
        prompts: Sequence[Messages],
        texts: Sequence[str],
        hidden: dict[int, Tensor] | None = None,
        rollout: Rollout | None = None,
    ) -> Scored:
        references = [self.references.get(key_of(prompt), "") for prompt in prompts]
        answered = Answered(prompts, texts, references, hidden or {}, rollout)
        scores = [scoring(answered) for scoring in self.scorings]
        for name, score in zip(self.names, scores, strict=True):
            check_scores(name, score.value, len(texts))
        has_gold = any(score.gold is not None for score in scores)
        figures: dict[str, Tensor] = {}
        for part, name, score in zip(self.parts, self.names, scores, strict=True):
            figures[f"reward_{name}"] = within(part, score.value)
            if score.spread is not None:
                figures[f"spread_{name}"] = score.spread
            figures |= {f"{what}_{name}": values for what, values in score.watched.items()}
        if outside := [score.outside for score in scores if score.outside is not None]:
            figures["score_outside"] = torch.stack(outside).mean(0)
        gold = [score.value if score.gold is None else score.gold for score in scores] if has_gold else None
        return Scored(
            self._total(score.value for score in scores), None if gold is None else self._total(gold), figures
        )

    def _total(self, values: Iterable[Tensor]) -> Tensor:
        terms = [part.weight * within(part, value) for part, value in zip(self.parts, values, strict=True)]
        return torch.stack(terms).sum(0)


@dataclass
class Ensemble:
    """Score by one reward model or several."""

    models: list[RewardModel]
    riding: list[bool]  # which models read the parent's hidden states
    spread_penalty: float

    def __call__(self, answered: Answered) -> PartScore:
        scores, gold = [], []
        for model, rides in zip(self.models, self.riding, strict=True):
            raw, second = _raw_scores(model, answered, rides=rides and bool(answered.hidden))
            scores.append((raw - model.score_mean) / model.score_std)
            if second is not None:
                # Both heads have the likelihood of votes, and so the same unit.
                gold.append((second - model.score_mean) / model.score_std)
        stacked = torch.stack(scores)
        outside = (stacked.abs() > OUTSIDE).float().mean(0)
        gold_mean = torch.stack(gold).mean(0) if gold else None
        if len(self.models) == 1:
            return PartScore(stacked[0], gold_mean, None, outside)
        spread = stacked.std(0, unbiased=False)
        penalty = self.spread_penalty * spread
        gold_mean = None if gold_mean is None else gold_mean - penalty
        return PartScore(stacked.mean(0) - penalty, gold_mean, spread, outside)


def _raw_scores(model: RewardModel, answered: Answered, *, rides: bool) -> tuple[Tensor, Tensor | None]:
    prompts, texts = list(answered.prompts), list(answered.texts)
    if rides:
        assert answered.rollout is not None
        states = {layer: answered.hidden[layer] for layer in model.layers}
        mask = answered.rollout.text_mask()
        return model.score_from_hidden(states, mask), model.gold_from_hidden(states, mask) if model.has_gold else None
    return model.score_both(prompts, texts) if model.has_gold else (model.score(prompts, texts), None)


def verified(verify: Callable[[Messages, str, str], float]) -> Scoring:
    """Return a scoring by a verifier."""

    def score(answered: Answered) -> PartScore:
        triples = zip(answered.prompts, answered.texts, answered.references, strict=True)
        values = [verify(prompt, text, reference) for prompt, text, reference in triples]
        return PartScore(torch.tensor(values, dtype=torch.float32, device=loading.device()))

    return score


def within(part: RewardPart, value: Tensor) -> Tensor:
    """Return a part's value within its limits."""
    if part.low is None and part.high is None:
        return value
    return value.clamp(part.low, part.high)


def ensemble_of(spec: RunSpec, part: ModelPart) -> Ensemble:
    """Load the models of a part. Raises RecipeFailure where one is missing or has changed since the run was queued."""
    folders = [spec.reward_models[name]["folder"] for name in part.names] or [spec.reward_model]
    models = [RewardModel.load(folder) for folder in folders]
    parent = loading.weights_hash(spec.parent) if any(model.method == "head" for model in models) else ""
    return Ensemble(models, [m.method == "head" and m.trunk_hash == parent for m in models], part.spread_penalty)


def references_of(rows: Iterable[Row], parts: tuple[RewardPart, ...]) -> dict[Any, str]:
    """Return the prompts' own answers by prompt. Raises RecipeFailure where a part needs one that is not there."""
    references: dict[Any, str] = {}
    missing = total = 0
    for row in rows:
        answer = str(row.get("answer") or "").strip()
        total += 1
        missing += not answer
        references[key_of(row["messages"])] = answer
    if missing and (places := reward_parts.needs_answers(parts)):
        raise RecipeFailure(
            "no_answers",
            f"{missing} of {total} prompts have no answer, with which rewards[{places[0]}] compares.",
            "Add the right answers, freeze prompts of a category or source that has them, or leave that part out.",
        )
    return references


def key_of(messages: Messages) -> tuple[tuple[str, str], ...]:
    """Return what a conversation is found by."""
    return tuple((turn["role"], turn["content"]) for turn in messages)


def check_scores(name: str, value: Tensor, count: int) -> None:
    """Raise RecipeFailure where a part gave no number for some answer."""
    if len(value) != count or not torch.isfinite(value).all():
        raise RecipeFailure(
            "bad_scores",
            f"The part {name} gave {len(value)} scores for {count} completions, not all of them numbers.",
            "Correct that part of rewards, or train its reward model again.",
        )
