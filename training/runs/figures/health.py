"""Warn when a run that trains against a score runs away, on its page, while it can be stopped.

A policy may please the score by ceasing to answer, or by answers that the reward model has never learnt to judge. The
PPO recipe pauses at its bounds; this tells of the way there. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common.texts import percent
from training.runs.figures.curves import is_number, of_parent

NEAR = 0.75  # share of a bound used up, from which on a person should look
_INTERVAL = 2.0  # standard errors of the difference that chance explains: nothing within them alarms
_SHIFTED = 1.0  # of the parent's own spread, feature by feature
_OUTSIDE = 0.1  # share of scores beyond three deviations of the reward model's training, where 0.003 is usual
_FORGOTTEN = 0.1  # nats a token
_APART = 0.1  # nats a token between the policy that draws and the one that learns: about two updates of theirs
_TRUNCATED = 0.05  # share of tokens

Values = dict[str, Any]


def warnings(rows: Sequence[tuple[int, Values]], config: Values) -> list[str]:
    """Return what begins to run away, in words; empty while all is well. `rows` are (step, values), first to last."""
    if len(rows) < 2:
        return []
    first, (step, last) = rows[0][1], rows[-1]
    texts = [text for check in _CHECKS for text in check(first, last, config)]
    if not texts and is_number(drift := last.get("drift")) and drift > NEAR:
        texts.append(f"the drift has reached {percent(drift)} of the nearest limit")
    return [f"At step {step} {text}." for text in texts]


def _beyond(name: str, first: Values, last: Values) -> tuple[float, float, float] | None:
    """Return (now, the parent's, the difference that chance does not explain, with its sign); None if unmeasured."""
    now, parent = last.get(name), of_parent(name, first)
    if not is_number(now) or parent is None:
        return None
    errors = (last.get(f"{name}_se"), of_parent(f"{name}_se", first))
    chance = _INTERVAL * math.hypot(*(error if is_number(error) else 0.0 for error in errors))
    return now, parent, math.copysign(max(0.0, abs(now - parent) - chance), now - parent)


def _option(config: Values, name: str, default: float) -> float:
    value = config.get(name)
    return float(value) if is_number(value) else default


def _kl(first: Values, last: Values, config: Values) -> Iterator[str]:
    kl = last.get("kl_robust", last.get("kl"))
    bound = config.get("stop_kl") if config.get("stop_kl") is not None else first.get("stop_kl")
    if is_number(kl) and is_number(bound) and bound > 0 and kl > NEAR * bound:
        yield f"the KL to the parent is {kl:.1f} nats; the limit is {bound:.3g}"


def _length(first: Values, last: Values, config: Values) -> Iterator[str]:
    shortest, longest = config.get("min_length_ratio") or 0.5, config.get("max_length_ratio") or 2.0
    if (figure := _beyond("length_mean", first, last)) is None or figure[1] <= 0:
        return
    now, parent, more = figure
    text = f"the answers have {now:.0f} tokens; the parent's have {parent:.0f}"
    if more / parent < -NEAR * (1 - shortest):
        yield f"{text}: they may be collapsing"
    elif more / parent > NEAR * (longest - 1):
        yield f"{text}: they may be too long"


def _sameness(first: Values, last: Values, config: Values) -> Iterator[str]:
    lowest = config.get("min_distinct_ratio") or 0.6
    if figure := _beyond("distinct", first, last):
        now, parent, more = figure
        if parent > 0 and more / parent < -NEAR * (1 - lowest):
            yield f"only {percent(now)} of the answers differ from each other; {percent(parent)} of the parent's do"


def _endings(first: Values, last: Values, config: Values) -> Iterator[str]:
    lowest = _option(config, "min_eos_ratio", 0.5)
    if lowest and (figure := _beyond("eos_rate", first, last)):
        now, parent, more = figure
        if parent > 0 and more / parent < -NEAR * (1 - lowest):
            yield (
                f"{percent(now)} of the answers are complete; {percent(parent)} of the parent's are: they no longer "
                "end, and max_new_tokens cuts them off"
            )


def _fluency(first: Values, last: Values, config: Values) -> Iterator[str]:
    """Yield whether the answers still read as the parent's do; without a reader a score rises over noise."""
    if figure := _beyond("entropy", first, last):
        now, parent, more = figure
        lowest, rise = _option(config, "min_entropy_ratio", 0.4), _option(config, "max_entropy_rise", 0.3)
        text = f"the entropy is {now:.2f} nats per token; the parent's is {parent:.2f}"
        if parent > 0 and lowest and more / parent < -NEAR * (1 - lowest):
            yield f"{text}: the answers become more similar"
        elif rise and more > NEAR * rise:
            yield f"{text}: the answers become more random"
    limit = _option(config, "max_surprise_rise", 0.2)
    if limit and (figure := _beyond("surprise", first, last)) and figure[2] > NEAR * limit:
        yield (
            f"the answers surprise the parent by {figure[0]:.2f} nats per token, its own answers by {figure[1]:.2f}: "
            "they may be less fluent; a higher fluency_coef prevents this"
        )
    limit = _option(config, "max_foreign_share", 0.05)
    if limit and (figure := _beyond("foreign_scripts", first, last)) and figure[2] > NEAR * limit:
        yield f"{percent(figure[0])} of the characters are emoji or in scripts that the parent does not use"


def _reward_model(first: Values, last: Values, config: Values) -> Iterator[str]:
    """Yield whether the reward model still predicts what it has learnt to judge."""
    shift, outside = last.get("input_shift"), last.get("score_outside")
    if is_number(shift) and shift > _SHIFTED:
        yield (
            f"the answers have moved by {shift:.1f} of the parent's deviation in the reward model's features: it "
            "scores answers that differ from the annotated ones"
        )
    if is_number(outside) and outside > _OUTSIDE:
        yield (
            f"{percent(outside)} of the scores are outside the range of the reward model's training, where it is "
            "unreliable"
        )


def _second_head(first: Values, last: Values, config: Values) -> Iterator[str]:
    """Yield whether what the score gains shows to a head of other annotations."""
    lower, bound = last.get("gold_behind_lower"), config.get("max_gold_gap")
    if is_number(lower) and is_number(bound) and bound > 0 and lower > NEAR * bound:
        yield (
            f"the second head is at least {lower:.1f} of the parent's deviation below the prediction from the score: "
            "the policy exploits errors of the reward model"
        )


def _forgetting(first: Values, last: Values, config: Values) -> Iterator[str]:
    now, begin = last.get("ptx_held_out_loss"), first.get("ptx_held_out_loss")
    if is_number(now) and is_number(begin) and now > begin + _FORGOTTEN:
        mixes = config.get("ptx_coef") or 0
        remedy = "a higher ptx_coef prevents this" if mixes else "ptx_coef above 0 prevents this"
        yield f"the loss on the older skill's held-out text rose from {begin:.2f} to {now:.2f} nats per token; {remedy}"


def _mismatch(first: Values, last: Values, config: Values) -> Iterator[str]:
    """Yield whether the policy that draws and the one that learns are too far apart for importance weights."""
    apart, truncated = last.get("sampler_kl"), last.get("truncated_share")
    if not is_number(apart) or not is_number(truncated) or (apart <= _APART and truncated <= _TRUNCATED):
        return
    remedy = (
        "staleness 0 or a lower learning_rate prevents this" if last.get("staleness") else "top_p 1 and top_k 0 help"
    )
    yield (
        f"the policy that draws and the one that learns are {apart:.2f} nats per token apart, and {percent(truncated)} "
        f"of the importance weights are truncated: the updates are biased; {remedy}"
    )


_Check = Callable[[Values, Values, Values], Iterator[str]]
_CHECKS: tuple[_Check, ...] = (
    _kl,
    _length,
    _sameness,
    _endings,
    _fluency,
    _reward_model,
    _second_head,
    _forgetting,
    _mismatch,
)
