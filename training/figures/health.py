"""Whether a run that trains against a score is still what its owner wants: said on its page while it can be stopped.

A policy may please the score by ceasing to answer, or by answers that the reward model has never learnt to judge. The
PPO recipe pauses at its bounds; this tells of the way there. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from training.figures.curves import is_number

NEAR = 0.75  # share of a bound used up, from which on a person should look
_LOW_ENTROPY = 0.4  # of the parent's: a plunge goes before sameness
_SHIFTED = 1.0  # of the parent's own spread, feature by feature
_OUTSIDE = 0.1  # share of scores beyond three deviations of the reward model's training, where 0.003 is usual
_ENDLESS = 0.5  # of the parent's share of answers that end by themselves
_FORGOTTEN = 0.1  # nats a token

Values = dict[str, Any]


def warnings(rows: Sequence[tuple[int, Values]], config: Values) -> list[str]:
    """What begins to run away, in words; empty while all is well. `rows` are (step, values), first to last."""
    if len(rows) < 2:
        return []
    first, (step, last) = rows[0][1], rows[-1]
    found = [text for check in _CHECKS for text in check(first, last, config)]
    if not found and is_number(drift := last.get("drift")) and drift > NEAR:
        found.append(f"{drift:.0%} of the nearest bound is used up")
    return [f"At step {step} {text}." for text in found]


def _kl(first: Values, last: Values, config: Values) -> Iterator[str]:
    kl, bound = last.get("kl"), config.get("stop_kl")
    if is_number(kl) and is_number(bound) and bound > 0 and kl > NEAR * bound:
        yield f"the KL to the parent is {kl:.1f} of the {bound:g} nats that are its bound"


def _length(first: Values, last: Values, config: Values) -> Iterator[str]:
    shortest, longest = config.get("min_length_ratio") or 0.5, config.get("max_length_ratio") or 2.0
    now, begin = last.get("length_mean"), first.get("length_mean")
    if not (is_number(now) and is_number(begin) and begin > 0):
        return
    told = f"the answers are {now:.0f} tokens long, where they were {begin:.0f} at first"
    if now / begin < 1 - NEAR * (1 - shortest):
        yield f"{told}: they may be collapsing"
    elif now / begin > 1 + NEAR * (longest - 1):
        yield f"{told}: they run on"


def _sameness(first: Values, last: Values, config: Values) -> Iterator[str]:
    now, begin = last.get("distinct"), first.get("distinct")
    lowest = config.get("min_distinct_ratio") or 0.6
    if is_number(now) and is_number(begin) and begin > 0 and now / begin < 1 - NEAR * (1 - lowest):
        yield f"only {now:.0%} of the answers differ from each other, where {begin:.0%} did at first"
    now, begin = last.get("entropy"), first.get("entropy")
    if is_number(now) and is_number(begin) and begin > 0 and now < _LOW_ENTROPY * begin:
        yield f"the entropy has fallen from {begin:.2g} to {now:.2g} nats a token: sameness comes next"


def _endings(first: Values, last: Values, config: Values) -> Iterator[str]:
    now, begin = last.get("eos_rate"), first.get("eos_rate")
    if is_number(now) and is_number(begin) and begin > 0.2 and now < _ENDLESS * begin:
        yield f"{now:.0%} of the answers end by themselves, where {begin:.0%} did at first: they have become endless"


def _reward_model(first: Values, last: Values, config: Values) -> Iterator[str]:
    """Whether it still judges what it has learnt to judge."""
    shift, outside = last.get("input_shift"), last.get("score_outside")
    if is_number(shift) and shift > _SHIFTED:
        yield (
            f"what the reward model reads has moved by {shift:.1f} of the parent's own spread: it scores answers "
            "unlike those that people judged"
        )
    if is_number(outside) and outside > _OUTSIDE:
        yield f"{outside:.0%} of the scores are beyond those of the reward model's training: it guesses there"


def _forgetting(first: Values, last: Values, config: Values) -> Iterator[str]:
    now, begin = last.get("ptx_held_out_loss"), first.get("ptx_held_out_loss")
    if is_number(now) and is_number(begin) and now > begin + _FORGOTTEN:
        mixes = config.get("ptx_coef") or 0
        remedy = "a higher ptx_coef holds it" if mixes else "ptx_coef mixes some of it in"
        yield f"the loss on the older skill's held-out text rose from {begin:.2f} to {now:.2f} nats a token; {remedy}"


_Check = Callable[[Values, Values, Values], Iterator[str]]
_CHECKS: tuple[_Check, ...] = (_kl, _length, _sameness, _endings, _reward_model, _forgetting)
