"""Score for PPO: by a reward model that rides on the reference's forward, one with a forward of its own, or a Python
function named in the config."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from training.core import reward_trust
from training.core.run_directory import RecipeFailure, Row, RunSpec
from training.recipes.common import loading
from training.recipes.reward.reward_model import RewardModel
from training.rl.rollout import Rollout

Messages = list[dict[str, str]]


class Scorer:
    """Score completions. `layers` are the reference's hidden states it wants to be given; a `model` with layers rides
    on the reference."""

    layers: frozenset[int] = frozenset()
    max_prompt_tokens: int | None = None
    model: RewardModel | None = None  # None for a function

    def __init__(self, describe: str, score: Callable[..., Any]) -> None:
        self.describe, self._score = describe, score

    def __call__(
        self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout
    ) -> Tensor:
        """Return (B,) float32 scores of completions. Raises RecipeFailure when one is no number."""
        scores = self._score(prompts, texts, hidden, rollout)
        return checked(scores, len(texts), self.describe).to(rollout.ids.device)

    def both(
        self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout
    ) -> tuple[Tensor, Tensor | None]:
        """Return (B,) scores as by a call, and those of the reward model's second head; None where there is none."""
        if self.model is None or not self.model.has_gold:
            return self(prompts, texts, hidden, rollout), None
        if self.layers:
            states = {layer: hidden[layer] for layer in self.model.layers}
            raw_scores = self(prompts, texts, hidden, rollout), self.model.gold_from_hidden(states, rollout.text_mask())
        else:
            raw_scores = self.model.score_both(prompts, texts)
        scores, gold = (checked(one, len(texts), self.describe).to(rollout.ids.device) for one in raw_scores)
        return scores, gold

    def aspects(
        self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout
    ) -> dict[str, Tensor]:
        """Return {aspect: (B,)} beside the score, for those who watch: nothing is rewarded by them. Empty for a
        function."""
        if self.model is None:
            return {}
        if self.layers:
            states = {layer: hidden[layer] for layer in self.model.layers}
            return self.model.aspects_from_hidden(states, rollout.text_mask())
        return self.model.score_aspects(prompts, texts)


def checked(scores: Any, count: int, describe: str) -> Tensor:
    """Return (count,) float32. Raises RecipeFailure when there are more or fewer, or one is no number."""
    values = torch.as_tensor(scores, dtype=torch.float32).detach().clone().flatten()
    if len(values) != count or not torch.isfinite(values).all():
        raise RecipeFailure(
            "bad_scores",
            f"{describe} gave {len(values)} scores for {count} completions, not all of them numbers.",
            "Each completion needs one finite number; correct the function, or train the reward model again.",
        )
    return values


def refuse_none_or_both(spec: RunSpec, reward_function: str) -> None:
    """Raise RecipeFailure when there is neither a function nor a reward model, or both."""
    if bool(reward_function) == bool(spec.reward_model):
        text = "both a reward model and" if reward_function else "neither a reward model nor"
        raise RecipeFailure(
            "no_reward",
            f"The run has {text} a reward_function.",
            "Choose a reward model or a reward_function, not both.",
        )


def require_trust(spec: RunSpec, config: Any) -> None:
    """Raise RecipeFailure when the run's reward model did not beat chance, before anything is loaded.

    `config.trust_unproven_reward` overrules it. A function is taken as it is.
    """
    if not spec.reward_model or config.reward_function:
        return
    evidence = reward_trust.of_folder(spec.reward_model)
    if evidence.refuses and not config.trust_unproven_reward:
        raise RecipeFailure(reward_trust.CODE, evidence.sentence, reward_trust.REMEDY)
    if not evidence.beats_chance:
        print(f"Warning: {evidence.sentence}")


def trust_rows(spec: RunSpec, config: Any) -> Row:
    """Return what result.json says of the reward model that was followed; {} for a function."""
    if not spec.reward_model:
        return {}
    evidence = reward_trust.of_folder(spec.reward_model)
    return {"reward_evidence": reward_trust.as_row(evidence, overruled=config.trust_unproven_reward)}


def scorer_for(spec: RunSpec, reward_function: str) -> Scorer:
    refuse_none_or_both(spec, reward_function)
    if reward_function:
        function = import_function(reward_function)
        return Scorer(reward_function, lambda prompts, texts, hidden, rollout: function(prompts, texts))
    model = RewardModel.load(spec.reward_model)
    if model.method == "head" and model.trunk_hash == loading.weights_hash(spec.parent):
        scorer = Scorer(
            "The reward model",
            lambda prompts, texts, hidden, rollout: model.score_from_hidden(
                {layer: hidden[layer] for layer in model.layers}, rollout.text_mask()
            ),
        )
        scorer.layers = frozenset(model.layers)
        scorer.max_prompt_tokens = model.max_prompt_tokens
    else:
        scorer = Scorer("The reward model", lambda prompts, texts, hidden, rollout: model.score(prompts, texts))
    scorer.model = model
    return scorer


def import_function(path: str) -> Callable[[list[Messages], list[str]], list[float]]:
    module, _, name = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeFailure(
            "no_reward_function",
            f"reward_function {path!r} cannot be imported: {error}",
            "Use package.module.function, which the worker must be able to import.",
        ) from error
    if not callable(function):
        raise RecipeFailure("no_reward_function", f"reward_function {path!r} is not a function.", "Use a function.")
    return function
