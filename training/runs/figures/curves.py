"""Choose which curves a run page draws, in which order and with which titles. Pure: names and numbers only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

Values = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A level to compare a curve with: a target, a bound, where it began."""

    value: float
    label: str


@dataclass(frozen=True)
class Curve:
    name: str
    title: str
    is_main: bool
    lines: tuple[Line, ...] = ()
    unit: str = "step"  # what the horizontal axis counts
    is_dots: bool = False  # things of a list, with nothing between them that a line would mean
    value_unit: str = ""  # what the vertical axis counts; empty where the title says all
    is_share: bool = False  # from 0 to 1, and so is its axis


# In the order of what a reader asks: does it work, how far has it gone, are the answers still answers, is it healthy.
_MAIN = {
    "score_mean": "Score (the parent's answers average 0)",
    "held_out_score": "Score on held-out prompts",
    "score": "Score",
    "loss": "Loss",
    "validation_loss": "Loss on held-out text",
    "perplexity": "Perplexity on held-out text",
    "bits_per_byte": "Bits per byte of held-out text",
    "eval_loss": "Loss on held-out rows",
    "accuracy": "Accuracy on held-out pairs",
    "cv_accuracy": "Accuracy of each candidate, cross-validated",
    "cv_nll": "Loss of each candidate, cross-validated",
    "kl": "KL to the parent, nats per answer",
    "length_mean": "Length of the answers, tokens",
    "distinct": "Share of answers that differ",
    "entropy": "Entropy, nats per token",
    "eos_rate": "Share of complete answers",
    "cut_share": "Share of answers that are cut off",
    "surprise": "Surprise of the answers under the parent, nats per token",
    "foreign_scripts": "Share of emoji and of scripts that the parent does not use",
    "clip_frac": "Clip fraction",
    "kept_share": "Share of bytes kept",
    "documents_per_second": "Documents per second",
    "bytes_per_token": "Bytes per token, by vocabulary size",
    "tokens_per_word": "Tokens per word, by vocabulary size",
    "drift": "Drift: share of the nearest limit",
    "input_shift": "Shift of the answers in the reward model's features, in deviations",
    "gold_score": "Score by the second head, trained on other annotations",
    "gold_behind": "Gap of the second head to the prediction from the score, in the parent's deviations",
    "score_outside": "Share of scores outside the range of the reward model's training",
    "ptx_held_out_loss": "Loss on held-out text of the older skill, nats per token",
}
_MORE = {
    "distinct_2": "Share of word pairs that differ",
    "reward": "Reward: score − kl_coef × KL",
    "raw_score_mean": "Raw score of the reward model",
    "score_std": "Standard deviation of the scores",
    "kl_k3": "KL by the k3 estimator",
    "kl_per_token": "KL to the parent, nats per token",
    "sampler_kl": "KL per token between sampler and trainer",
    "sampler_gap": "Mean difference of sampler's and trainer's log-probabilities",
    "truncated_share": "Share of tokens whose importance weight is truncated",
    "importance_mean": "Mean importance weight",
    "staleness": "Steps by which the sampler is behind",
    "kl_robust": "KL used for the limits and kl_coef",
    "kl_coef": "KL coefficient",
    "fluency_coef": "Weight of the penalty on surprise",
    "approx_kl": "KL of one update",
    "held_out_gap": "Score on training prompts − score on held-out prompts",
    "held_out_gap_lower": "Lower end of its 95 % interval",
    "held_out_gap_upper": "Upper end of its 95 % interval",
    "gold_gap": "Score − score of the second head",
    "gold_behind_lower": "Gap of the second head: lower end of the 95 % interval",
    "gold_behind_upper": "Gap of the second head: upper end of the 95 % interval",
    "input_distance": "Distance of single answers in the reward model's features; the parent's are near 1",
    "ptx_loss": "Loss on the mixed-in text (PTX), nats per token",
    "policy_loss": "Policy loss",
    "value_loss": "Value loss",
    "explained_variance": "Variance explained by the value function",
    "grad_norm": "Gradient norm before clipping",
    "token_accuracy": "Token accuracy",
    "learning_rate": "Learning rate",
    "lr": "Learning rate",
    "episodes_per_second": "Episodes per second",
    "tokens_per_second": "Tokens per second",
    "peak_memory_gb": "Peak memory, GB",
    "seconds": "Seconds",
    "seconds_actors": "Seconds in which the slowest rollout process drew",
}


_BESIDE_THE_PARENT = (
    *("length_mean", "entropy", "surprise", "eos_rate", "cut_share", "distinct", "distinct_2"),
    *("input_shift", "input_distance", "ptx_held_out_loss"),
)
# Option of a bound that stands above the parent's level, by the figure that it bounds.
_ABOVE_THE_PARENT = {"surprise": "max_surprise_rise", "entropy": "max_entropy_rise"}
# Of step 0 alone: the parent's baseline and what follows from it. Levels to compare with, and no curves.
_BASELINE = "parent_"
_OF_CANDIDATES = ("cv_accuracy", "cv_nll")  # one candidate a row: numbered, and in no order
_SHARES = (
    *("accuracy", "cv_accuracy", "token_accuracy", "distinct", "distinct_2", "eos_rate", "cut_share"),
    *("foreign_scripts", "clip_frac", "kept_share", "score_outside", "truncated_share"),
)
_UNITS = {
    **dict.fromkeys(_SHARES, "share"),
    **dict.fromkeys(("kl", "kl_k3", "kl_robust", "stop_kl"), "nats per answer"),
    **dict.fromkeys(
        ("entropy", "surprise", "kl_per_token", "sampler_kl", "sampler_gap", "ptx_loss", "ptx_held_out_loss"),
        "nats per token",
    ),
    **dict.fromkeys(("loss", "validation_loss", "eval_loss", "cv_nll"), "nats"),
    "bits_per_byte": "bits per byte",
    "length_mean": "tokens",
    "staleness": "steps",
    "bytes_per_token": "bytes per token",
    "tokens_per_word": "tokens per word",
    "documents_per_second": "documents/s",
    "episodes_per_second": "episodes/s",
    "tokens_per_second": "tokens/s",
    "completions_per_second": "completions/s",
    "peak_memory_gb": "GB",
    "seconds": "s",
}
# Of a reward's parts: what each gives, and the deviation over the models of an ensemble.
_PARTS = {
    "reward_": "Part of the reward: ",
    "spread_": "Deviation over the models: ",
    "cost_": "Cost so far in dollars: ",
    "lost_": "Share of answers without grades: ",
}
_BEFORE_PARTS = ("score_mean", "held_out_score", "kl")
MOST_MAIN = 6  # curves that a page shows at first: as many as one looks at together
_LEVELS = ("kl_target", "stop_kl")
_ERROR = "_se"  # the standard error of the figure that bears the name without it


def curves(rows: Sequence[tuple[int, Values]], config: Values) -> list[Curve]:
    """Return the curves of these (step, values) rows: known ones first, and whatever else was measured after them."""
    return curves_of(names_in(values for _, values in rows), config, rows[0] if rows else None)


def names_in(rows: Iterable[Values]) -> set[str]:
    return {name for values in rows for name, value in values.items() if is_number(value) and is_figure(name)}


def last_values(rows: Iterable[Values]) -> dict[str, float]:
    """Return the last number of each figure."""
    return {name: float(v) for values in rows for name, v in values.items() if is_number(v) and is_figure(name)}


def is_figure(name: str) -> bool:
    """Tell whether a metric is drawn: not the baseline, its levels, or the standard error of another."""
    return not (name.startswith(_BASELINE) or name.endswith(_ERROR) or name in _LEVELS)


def of_parent(name: str, first: Values) -> float | None:
    """Return the parent's own figure: the baseline's, or of a run from before there was one, that of step 0."""
    level = first.get(f"{_BASELINE}{name}", first.get(name))
    return float(level) if is_number(level) else None


def curves_of(names: set[str], config: Values, first: tuple[int, Values] | None = None) -> list[Curve]:
    """Return the curves of these names; `first` is the first row, with which some of them are compared."""
    known_names = [name for name in (*_MAIN, *_MORE) if name in names]
    parts = sorted(name for name in names if is_part(name) and name.startswith(("reward_", "spread_")))
    before = [name for name in known_names if name in _BEFORE_PARTS] if parts else []
    known_names = before + parts + [name for name in known_names if name not in before]
    others = sorted(names - set(known_names))
    is_raw = config.get("score_scaling", "none") == "none"  # of GRPO and RLOO nothing sets the scale
    titles = {"score_mean": "Score"} if is_raw else {}
    curves = [
        Curve(
            name,
            titles.get(name) or title_of(name),
            name in _MAIN or name in parts,
            tuple(_lines(name, first, config)),
            unit="candidate" if name in _OF_CANDIDATES else "step",
            is_dots=name in _OF_CANDIDATES,
            value_unit=_UNITS.get(name, ""),
            is_share=name in _SHARES,
        )
        for name in (*known_names, *others)
    ]
    # A kind that nobody here has heard of shows its first few; the rest are one click away.
    if curves and not any(curve.is_main for curve in curves):
        return [replace(curve, is_main=i < 4) for i, curve in enumerate(curves)]
    return [replace(curve, is_main=curve.is_main and i < MOST_MAIN) for i, curve in enumerate(curves)]


def is_part(name: str) -> bool:
    """Tell whether a metric is of one part of a reward."""
    return name.startswith(tuple(_PARTS)) and name not in (*_MAIN, *_MORE)


def title_of(name: str) -> str:
    if is_part(name):
        start, _, part = name.partition("_")
        return _PARTS[f"{start}_"] + part.replace("_", " ")
    return _MAIN.get(name) or _MORE.get(name) or name.replace("_", " ").capitalize()


def table(rows: Sequence[tuple[int, Values]], chosen: Iterable[Curve], limit: int = 120) -> list[tuple[int, list[str]]]:
    """Return one line per step, at most `limit` of them, evenly spaced, always with the last one."""
    names = [curve.name for curve in chosen]
    return [(step, [number(values.get(name)) for name in names]) for step, values in thinned(rows, limit)]


def thinned(rows: Sequence[Any], limit: int) -> list[Any]:
    """Return at most `limit` rows of each sort, evenly spaced, always with the last one. A row's values come last.

    What was measured seldom, such as the loss on held-out text, is a sort of its own and not thinned with the rest.
    """
    if len(rows) <= limit:
        return list(rows)
    sorts: dict[frozenset[str], list[int]] = {}
    for index, row in enumerate(rows):
        sorts.setdefault(frozenset(row[-1]), []).append(index)
    indices = {index for indices in sorts.values() for index in evenly(indices, limit)}
    return [rows[index] for index in sorted(indices)]


def evenly(rows: Sequence[Any], limit: int) -> list[Any]:
    """Return at most `limit` of the rows, evenly spaced, always with the first and the last."""
    if len(rows) <= limit:
        return list(rows)
    last = len(rows) - 1
    return [rows[round(i * last / (limit - 1))] for i in range(limit)]


def number(value: Any) -> str:
    """Return the number rounded to four significant digits, with a true minus sign."""
    if not is_number(value):
        return "–"
    value = value or 0  # a rounded -0.0 is 0
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    else:
        text = f"{value:.2e}"
    return text.replace("-", "−") if text.startswith("-") else text


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _lines(name: str, first: tuple[int, Values] | None, config: Values) -> Iterable[Line]:
    begin = first[1] if first and first[0] == 0 else {}
    if name == "kl":
        for option, label in (("kl_target", "target"), ("stop_kl", "bound")):
            # Left empty it follows from the length of the parent's answers, which the run has measured.
            level = config.get(option) if config.get(option) is not None else begin.get(option)
            if is_number(level) and level > 0:
                yield Line(float(level), label)
    if name == "gold_behind" and is_number(level := config.get("max_gold_gap")) and level > 0:
        yield Line(float(level), "limit for the lower end of the interval")
    if name == "drift":
        yield Line(1.0, "bound")
    if name == "foreign_scripts" and is_number(bound := config.get("max_foreign_share")) and bound > 0:
        yield Line(float(bound), "bound")
    if name in _BESIDE_THE_PARENT and (parent := of_parent(name, begin)) is not None:
        yield Line(parent, "the parent")
        if is_number(rise := config.get(_ABOVE_THE_PARENT.get(name, ""))) and rise > 0:
            yield Line(parent + rise, "bound")
