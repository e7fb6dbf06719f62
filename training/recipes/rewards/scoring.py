"""Score answers for every recipe that follows a reward: by a reward model, a Python function named in the config, or
the sum of several parts (`part_scores`).

PPO, GRPO and RLOO hand their reference's hidden states over (`Scorer`), on which a reward model may ride; the others
have texts alone (`TextScorer`).

What is scored is the answer, without what the model thought before it (`common.reasoning`): the policy learns its
thoughts by the score of the answer that follows. People annotate answers alone, so that a reward model has never read
a thought; best-of-N has always scored so. DeepSeek-R1 judged helpfulness by the final summary alone (2501.12948, 2.3.4)
and harmlessness by all; TRL leaves it to each function (`reasoning_accuracy_reward` strips). An answer that was cut
while it thought is empty: a reward model gives it the lowest score that it saw in training.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common import reasoning
from training.configs.rewards import reward_parts
from training.configs.rewards.part_lines import read_parts
from training.configs.rewards.reward_parts import RewardPart
from training.core import reward_trust
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import loading
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards.part_scores import (
    OUTSIDE,
    Ensemble,
    Parts,
    Scored,
    Scoring,
    ensemble_of,
    references_of,
    verified,
)
from training.recipes.rewards.rubric_judge import judge_rows, judges_for
from training.recipes.rewards.verifiers import verifier_of
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
        texts, hidden = answers_of(texts, hidden)
        scores = self._score(prompts, texts, hidden, rollout)
        return checked(scores, len(texts), self.describe).to(rollout.ids.device)

    def scored(self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout) -> Scored:
        """Return scores as by a call, and those of the reward model's second head where there is one."""
        if self.model is None or not self.model.has_gold:
            return Scored(self(prompts, texts, hidden, rollout))
        texts, hidden = answers_of(texts, hidden)
        if self.layers and hidden:
            states = {layer: hidden[layer] for layer in self.model.layers}
            gold = self.model.gold_from_hidden(states, rollout.text_mask())
            raw_scores = self._score(prompts, texts, hidden, rollout), gold
        else:
            raw_scores = self.model.score_both(prompts, texts)
        scores, gold = (checked(one, len(texts), self.describe).to(rollout.ids.device) for one in raw_scores)
        return Scored(scores, gold)

    def share_outside(self, scores: Tensor, figures: dict[str, Tensor]) -> float | None:
        """Return the share of raw scores (B,) beyond what the reward model's training saw; None for a function."""
        if self.model is None:
            return None
        deviation = (scores - self.model.score_mean).abs() / max(self.model.score_std, 1e-9)
        return float((deviation > OUTSIDE).float().mean())

    def aspects(
        self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout
    ) -> dict[str, Tensor]:
        """Return {aspect: (B,)} beside the score, for those who watch: nothing is rewarded by them. Empty for a
        function."""
        if self.model is None:
            return {}
        texts, hidden = answers_of(texts, hidden)
        if self.layers and hidden:
            states = {layer: hidden[layer] for layer in self.model.layers}
            return self.model.aspects_from_hidden(states, rollout.text_mask())
        return self.model.score_aspects(prompts, texts)


class PartsScorer(Scorer):
    """Score completions by the sum of a reward's parts. `model` is the first reward model among them, and before it one
    that rides on the reference."""

    def __init__(self, parts: Parts) -> None:
        super().__init__("The reward", parts)
        self.parts = parts
        ensembles = [one for one in parts.scorings if isinstance(one, Ensemble)]
        riding = [m for one in ensembles for m, rides in zip(one.models, one.riding, strict=True) if rides]
        self.model = next(iter([*riding, *parts.models]), None)
        self.layers = frozenset(layer for model in riding for layer in model.layers)
        self.max_prompt_tokens = min((model.max_prompt_tokens for model in riding), default=None)

    def __call__(
        self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout
    ) -> Tensor:
        return self.scored(prompts, texts, hidden, rollout).scores

    def scored(self, prompts: list[Messages], texts: list[str], hidden: dict[int, Tensor], rollout: Rollout) -> Scored:
        return self.parts(prompts, *answers_of(texts, hidden), rollout)

    def share_outside(self, scores: Tensor, figures: dict[str, Tensor]) -> float | None:
        return float(figures["score_outside"].mean()) if "score_outside" in figures else None


@dataclass(frozen=True)
class TextScorer:
    """Score completions by their texts. A reward model's scores are in standard deviations of its training."""

    describe: str
    score: Callable[[list[Messages], list[str]], Scored]

    def __call__(self, prompts: list[Messages], texts: list[str]) -> Scored:
        """Return (B,) float32 scores. Raises RecipeFailure when one is no number."""
        scored = self.score(prompts, answers_of(texts, {})[0])
        return Scored(checked(scored.scores, len(texts), self.describe), scored.gold, scored.figures)


def answers_of(texts: list[str], hidden: dict[int, Tensor]) -> tuple[list[str], dict[int, Tensor]]:
    """Return the answers of completions, and the hidden states that they may be scored by: none where a completion has
    thoughts, which those states have read."""
    answers = [reasoning.split(text).answer for text in texts]
    return answers, hidden if answers == texts else {}


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


def refuse_none_or_both(spec: RunSpec, config: Any) -> None:
    """Raise RecipeFailure when there is neither a function nor a reward model, or both; parts say by themselves what
    they need."""
    if config.rewards:
        _refuse_missing_models(spec, config)
    elif bool(config.reward_function) == bool(spec.reward_model):
        text = "both a reward model and" if config.reward_function else "neither a reward model nor"
        raise RecipeFailure(
            "no_reward",
            f"The run has {text} a reward_function.",
            "Choose a reward model or a reward_function, not both.",
        )


def _refuse_missing_models(spec: RunSpec, config: Any) -> None:
    parts = read_parts(config.rewards)
    missing = [name for name in reward_parts.models_named(parts) if name not in spec.reward_models]
    if missing or (reward_parts.takes_own_model(parts) and not spec.reward_model):
        raise RecipeFailure(
            "no_reward",
            f"The rewards have {f'the reward model {missing[0]}' if missing else 'a reward model'}, which the run "
            "lacks.",
            "Choose a reward model, or leave that part of rewards out.",
        )


def require_trust(spec: RunSpec, config: Any) -> None:
    """Raise RecipeFailure when one of the run's reward models did not beat chance, before anything is loaded.

    `config.trust_unproven_reward` overrules it. A function is taken as it is.
    """
    for folder in model_folders(spec, config):
        evidence = reward_trust.of_folder(folder)
        if evidence.refuses and not config.trust_unproven_reward:
            raise RecipeFailure(reward_trust.CODE, evidence.sentence, reward_trust.REMEDY)
        if not evidence.beats_chance:
            print(f"Warning: {evidence.sentence}")


def model_folders(spec: RunSpec, config: Any) -> list[str]:
    """Return the folders of the reward models that score, each once."""
    if config.reward_function:
        return []
    if not config.rewards:
        return [spec.reward_model] if spec.reward_model else []
    parts = read_parts(config.rewards)
    own = [spec.reward_model] if reward_parts.takes_own_model(parts) and spec.reward_model else []
    named = [
        spec.reward_models[name]["folder"] for name in reward_parts.models_named(parts) if name in spec.reward_models
    ]
    return list(dict.fromkeys([*own, *named]))


def trust_rows(spec: RunSpec, config: Any, run: RunDirectory) -> Row:
    """Return what result.json says of the reward that was followed; {} for a function.

    `reward_evidence` is of the first reward model; of parts there are also `rewards`, the models with hashes, and what
    judges have graded.
    """
    rows: Row = {}
    if folders := model_folders(spec, config):
        evidence = reward_trust.of_folder(folders[0])
        rows["reward_evidence"] = reward_trust.as_row(evidence, overruled=config.trust_unproven_reward)
    if config.rewards:
        rows["rewards"] = config.rewards.splitlines()
        rows["reward_models"] = {name: about["hash"] for name, about in spec.reward_models.items()}
        rows |= judge_rows(run, reward_parts.judges_of(read_parts(config.rewards)))
    return rows


def scorer_for(spec: RunSpec, config: Any, rows: Iterable[Row] = (), run: RunDirectory | None = None) -> Scorer:
    """Return the scorer of PPO. `rows` are the prompts, whose answers some parts compare with; `run` is where judges
    are noted."""
    refuse_none_or_both(spec, config)
    if config.rewards:
        return PartsScorer(parts_for(spec, config, rows, run))
    if config.reward_function:
        function = import_function(config.reward_function)
        return Scorer(config.reward_function, lambda prompts, texts, hidden, rollout: function(prompts, texts))
    model = RewardModel.load(spec.reward_model)
    if model.method == "head" and model.trunk_hash == loading.weights_hash(spec.parent):
        scorer = Scorer(
            "The reward model",
            lambda prompts, texts, hidden, rollout: (
                model.score_from_hidden({layer: hidden[layer] for layer in model.layers}, rollout.text_mask())
                if hidden
                else model.score(prompts, texts)
            ),
        )
        scorer.layers = frozenset(model.layers)
        scorer.max_prompt_tokens = model.max_prompt_tokens
    else:
        scorer = Scorer("The reward model", lambda prompts, texts, hidden, rollout: model.score(prompts, texts))
    scorer.model = model
    return scorer


def text_scorer_for(
    spec: RunSpec, config: Any, rows: Iterable[Row] = (), run: RunDirectory | None = None
) -> TextScorer:
    """Return the scorer of recipes that have texts alone; `rows` and `run` as for `scorer_for`."""
    refuse_none_or_both(spec, config)
    if config.rewards:
        return TextScorer("The reward", parts_for(spec, config, rows, run))
    if config.reward_function:
        function = import_function(config.reward_function)
        return TextScorer(
            config.reward_function, lambda prompts, texts: Scored(torch.as_tensor(function(prompts, texts)))
        )
    model = RewardModel.load(spec.reward_model)

    def standardised(prompts: list[Messages], texts: list[str]) -> Scored:
        return Scored((model.score(prompts, texts) - model.score_mean) / model.score_std)

    return TextScorer("The reward model", standardised)


def part_values(figures: dict[str, Tensor], row: int) -> dict[str, float]:
    """Return what the parts say of one answer, by their names."""
    return {name.removeprefix("reward_"): float(values[row]) for name, values in figures.items() if is_of_answer(name)}


def is_of_answer(name: str) -> bool:
    """Tell whether a figure of a reward's parts is of single answers, and not of the run as a whole."""
    return name.startswith(("reward_", "spread_"))


def parts_for(spec: RunSpec, config: Any, rows: Iterable[Row], run: RunDirectory | None) -> Parts:
    """Return the parts of a run's reward, ready to score. Raises RecipeFailure where one cannot be made here."""
    parts = read_parts(config.rewards)
    references = references_of(rows, parts)
    judges = judges_for(run, spec, reward_parts.judges_of(parts)) if run is not None else {}

    def scoring_of(name: str, part: RewardPart) -> Scoring:
        if isinstance(part, reward_parts.ModelPart):
            return ensemble_of(spec, part)
        return judges[name] if isinstance(part, reward_parts.JudgePart) else verified(verifier_of(part))

    names = reward_parts.part_names(parts)
    return Parts(parts, [scoring_of(*named) for named in zip(names, parts, strict=True)], references)


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
