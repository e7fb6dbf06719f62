"""Report how good a fitted reward model is, which one is kept, and what result.json says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from common.texts import percent
from training.configs import RewardConfig
from training.core.run_directory import Row, RunSpec
from training.recipes.common import loading
from training.recipes.common.features import Feature
from training.recipes.reward import evidence as reward_evidence
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.answers.sequences import Sequences
from training.recipes.reward.designs.stored_features import Features
from training.recipes.reward.feedback_likelihood import Observations
from training.recipes.reward.feedback_rows import Feedback
from training.recipes.reward.head_fit import Head
from training.recipes.reward.reward_accuracy import Estimate, Judged
from training.recipes.reward.reward_model import RewardModel

SAID: dict[str, Callable[[Estimate], str]] = {
    "pair_accuracy": lambda figure: f"right about {percent(figure.value)} of {figure.n} pairs",
    "thumbs_auc": lambda figure: f"AUC {figure.value:.2f} on {figure.n} thumbs",
    "stars_spearman": lambda figure: f"rank correlation {figure.value:.2f} with {figure.n} star ratings",
}
CHANCE = {"pair_accuracy": 0.5, "thumbs_auc": 0.5, "stars_spearman": 0.0}
NAMED = {"pair_accuracy": "pairs", "thumbs_auc": "thumbs", "stars_spearman": "stars"}


@dataclass(frozen=True)
class Fitted:
    """A reward model with its held-out figures; `evidence` is the slope of all held-out annotations together."""

    model: RewardModel
    pooled: Features  # (N, F), what its head reads
    scores: Tensor  # (N,)
    figures: dict[str, Estimate | None]
    evidence: Estimate | None
    calibration: dict[str, Any]
    seconds: float


def assess(
    method: str, head: Head, pooled: Features, features: tuple[Feature, ...], observed: Observations,
    feedback: Feedback, training: Tensor, spec: RunSpec, config: RewardConfig, seconds: float,
) -> Fitted:  # fmt: skip
    """Return the reward model of a fit, its scores shifted to average 0 over the training completions, and its
    figures."""
    scores = head.scores(pooled)
    centre, spread = scores[training].mean().item(), scores[training].std().item()
    model = RewardModel(
        method=method, features=features, weight=head.weight.float(), bias=torch.tensor([-centre]),
        feature_mean=head.mean.float(), feature_std=head.std.float(),
        trunk_folder=spec.parent if method == "head" else "trunk",
        trunk_hash=loading.weights_hash(spec.parent) if method == "head" else "",
        max_prompt_tokens=config.max_prompt_tokens, max_completion_tokens=config.max_completion_tokens,
        tie_threshold=likelihood.split_cuts(head.cuts, observed).pair_cuts[0].item(),
        score_mean=0.0, score_std=max(spread, 1e-6), empty_score=scores[training].min().item() - centre,
    )  # fmt: skip
    held_out = observed.among(~training)
    figures = measure(scores, observed, feedback, training, spec.seed)
    evidence = reward_evidence.slope(scores, held_out, feedback.prompts)
    model.held_out = {"beats_chance": beats_chance(evidence), **held_out_rows(figures, evidence)}
    return Fitted(
        model=model,
        pooled=pooled,
        scores=scores,
        figures=figures,
        evidence=evidence,
        calibration=reward_measures.calibration(scores.numpy(), Judged.of(held_out), model.tie_threshold),
        seconds=seconds,
    )


def measure(
    scores: Tensor, observed: Observations, feedback: Feedback, training: Tensor, seed: int
) -> dict[str, Estimate | None]:
    held_out = Judged.of(observed.among(~training))
    return reward_measures.measures(scores.numpy(), held_out, feedback.prompts.numpy(), seed)


def longer_answer(
    sequences: Sequences, observed: Observations, feedback: Feedback, training: Tensor, seed: int
) -> dict[str, Estimate | None]:
    """Return the figures of always preferring the longer answer."""
    lengths = torch.tensor(sequences.lengths, dtype=torch.float64)
    return measure(lengths, observed, feedback, training, seed)


def headline(figures: dict[str, Estimate | None]) -> tuple[str, Estimate] | None:
    """Return the figure that rests on most annotations (pairs first): it decides between models."""
    known_figures = [(name, e) for name, e in figures.items() if e is not None]
    return max(known_figures, key=lambda pair: pair[1].n, default=None)


def held_out_rows(figures: dict[str, Estimate | None], evidence: Estimate | None) -> Row:
    """Return the held-out figures by name, the slope of all annotations among them, for result.json and reward.json."""
    return {**reward_measures.as_rows(figures), "slope": asdict(evidence) if evidence is not None else None}


def beats_chance(evidence: Estimate | None) -> bool:
    """Return whether the evidence beats chance: all annotations together decide, for of three figures one is above
    chance by luck often enough."""
    return evidence is not None and evidence.lower > 0


def choose(fitted: list[Fitted], config: RewardConfig, judgements: int) -> tuple[Fitted, str]:
    """Return the model to keep, and why in words."""
    if len(fitted) == 1 and config.method == "head":
        return fitted[0], "The config asks for a head on the frozen trunk."
    if len(fitted) == 1:
        reason = f"{judgements:,} annotations are fewer than {config.finetune_from:,}"
        return fitted[0], f"{reason}, so a linear head is used."
    if config.method == "finetune":
        return fitted[1], "The config asks for finetuning."
    head, tuned = fitted
    head_figure, tuned_figure = headline(head.figures), headline(tuned.figures)
    if head_figure is None or tuned_figure is None:
        return head, "The held-out annotations do not separate the two, so the simpler one is kept."
    name, head_value, tuned_value = head_figure[0], head_figure[1].value, tuned_figure[1].value
    words = f"held-out {name.replace('_', ' ')} is {tuned_value:.3f} finetuned and {head_value:.3f} with the head"
    # The one-standard-error rule (Breiman 1984): the simpler one, unless the other is better by more than chance gives.
    error = (head_figure[1].upper - head_figure[1].lower) / (2 * 1.96)
    if tuned_value > head_value + error:
        return tuned, f"Finetuning wins: {words}."
    if tuned_value > head_value:
        return head, f"The head is kept: {words}, a difference within one standard error ({error:.3f})."
    return head, f"The head wins: {words}."


def verdict(winner: Fitted, longer: dict[str, Estimate | None]) -> str:
    """Return an honest word about the held-out prompts."""
    headline_ = headline(winner.figures)
    if headline_ is None:
        return "There are no annotations on the held-out prompts, so the quality is unknown. Collect more annotations."
    spoken = []
    for name, figure in winner.figures.items():
        if figure is not None:
            null = longer[name]
            comparison = f"; preferring the longer answer gets {null.value:.2f}" if null else ""
            interval = f"95 % interval {figure.lower:.2f} to {figure.upper:.2f}"
            spoken.append(f"{SAID[name](figure)} ({interval}{comparison})")
    text = f"On {headline_[1].prompts} held-out prompts: {', '.join(spoken)}."
    at_chance = [NAMED[name] for name, e in winner.figures.items() if e is not None and e.lower <= CHANCE[name]]
    if not beats_chance(winner.evidence):
        text += " Together this is not better than chance: collect more annotations before you train on it."
    elif at_chance:
        text += f" Together this is better than chance; {' and '.join(at_chance)} alone does not show it."
    return text


def report(
    winner: Fitted, reason: str, fitted: list[Fitted], longer: dict[str, Estimate | None], feedback: Feedback,
    training: Tensor, sequences: Sequences,
) -> Row:  # fmt: skip
    """Return what result.json says of the model that is kept."""
    informativeness = feedback.informativeness
    return {
        "method": winner.model.method,
        "why": reason,
        "verdict": verdict(winner, longer),
        "beats_chance": beats_chance(winner.evidence),
        "features": [list(feature) for feature in winner.model.features],
        "judgements": {
            **asdict(informativeness),
            "telling": informativeness.informative,
            "sentence": informativeness.sentence,
        },
        "completions": {"training": int(training.sum()), "held_out": int((~training).sum())},
        "empty_completions": sum(not length for length in sequences.lengths),
        "held_out": held_out_rows(winner.figures, winner.evidence),
        "longer": reward_measures.as_rows(longer),
        "methods": {f.model.method: reward_measures.as_rows(f.figures) for f in fitted},
        "calibration": winner.calibration,
        "tie_parameter": winner.model.tie_threshold,
        "score_mean": winner.model.score_mean,
        "score_std": winner.model.score_std,
    }
