"""Check bounds on how far a policy may drift from its parent, on each rollout.

A policy trained against a score finds what the score does not see: in a first trial it fell to one-word answers within
nine steps while the score rose; in a later one every answer filled with emoji. These bounds read the answers and not
the score. A figure counts as beyond the parent's only where chance does not explain it: two standard errors of the
difference between the batch and the parent's own answers are taken off first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from common.texts import percent

INTERVAL = 2.0  # standard errors on either side


@dataclass(frozen=True)
class Behaviour:
    """Describe a batch of completions. `distinct` is the share of different texts, `distinct_2` of different word
    pairs.

    ends: the share that an end token closed, the rest was cut off; surprise: mean -log p of the tokens under the
    parent, entropy: of the distributions they were drawn from, both in nats a token; foreign: the share of characters
    in scripts that the parent does not use. None where it was not measured. errors: the standard errors, by name.
    """

    length: float
    distinct: float
    distinct_2: float
    kl: float = 0.0
    ends: float | None = None
    surprise: float | None = None
    entropy: float | None = None
    foreign: float | None = None
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bounds:
    """Hold what a policy may do. `shortest`, `longest`, `distinct`, `ends` and `lowest_entropy` are factors on the
    parent's own figures; `kl` is in nats per completion; `surprise` and `entropy` are nats a token above the
    parent's; `foreign` is a share of characters. None switches a bound off, as 0 does for those that hold a figure
    up."""

    kl: float | None
    shortest: float
    longest: float
    distinct: float
    ends: float = 0.0
    surprise: float | None = None
    entropy: float | None = None
    lowest_entropy: float = 0.0
    foreign: float | None = None


@dataclass(frozen=True)
class Drift:
    """Say how far the policy has drifted. `used` is the share of the nearest bound that is used up: 0 as the parent,
    beyond 1 out of bounds."""

    used: float
    code: str
    message: str


def distinct_share(texts: Sequence[str]) -> float:
    return len({" ".join(text.lower().split()) for text in texts}) / max(1, len(texts))


def distinct_pairs(texts: Sequence[str]) -> float:
    """Return the different pairs of neighbouring words over all such pairs; 0 when every text is one word."""
    pairs = [pair for text in texts for pair in pairwise(text.lower().split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def distinct_in_groups(texts: Sequence[str], size: int) -> tuple[float, float]:
    """Return `distinct_share` and `distinct_pairs`, each as its mean over groups of `size` texts.

    Both fall with the number of texts: 4,096 answers share more word pairs than 32 of the same model. So only groups
    of one size can be compared. Every text is in a group; where the size does not divide them, neighbours overlap.
    """
    size = min(size, len(texts))
    groups = math.ceil(len(texts) / size)
    starts = [round(i * (len(texts) - size) / max(1, groups - 1)) for i in range(groups)]
    parts = [texts[start : start + size] for start in starts]
    return sum(map(distinct_share, parts)) / groups, sum(map(distinct_pairs, parts)) / groups


def share_error(share: float, n: int) -> float:
    """Return the standard error of a share of n, not 0 for none or all of them (Agresti and Coull 1998)."""
    p = (share * n + 2) / (n + 4)
    return math.sqrt(p * (1 - p) / (n + 4))


def pairs_error(share: float, texts: Sequence[str]) -> float:
    """Return the standard error of `distinct_pairs`; 1 where no text has a pair, and the share means nothing.

    As if each text told once, however many pairs it has, because those of one text are alike; or each pair, where
    there are fewer of them.
    """
    pairs = sum(max(0, len(text.split()) - 1) for text in texts)
    return share_error(share, min(len(texts), pairs)) if pairs else 1.0


def drift(now: Behaviour, parent: Behaviour, bounds: Bounds) -> Drift:
    """Return the bound that is nearest to being crossed, or crossed the furthest."""
    drifts = [*_lengths(now, parent, bounds), *_sameness(now, parent, bounds), *_fluency(now, parent, bounds)]
    if bounds.kl is not None:
        drifts.append(Drift(now.kl / bounds.kl, "kl_limit", f"the KL from the parent is {now.kl:.1f} nats an answer"))
    worst = max(drifts, key=lambda d: d.used)
    return Drift(max(0.0, worst.used), worst.code, worst.message)


def difference(now: Behaviour, parent: Behaviour, name: str) -> float | None:
    """Return how far a figure is from the parent's beyond what chance explains, with its sign; None if unmeasured."""
    value, base = getattr(now, name), getattr(parent, name)
    if value is None or base is None:
        return None
    chance = INTERVAL * math.hypot(now.errors.get(name, 0.0), parent.errors.get(name, 0.0))
    return math.copysign(max(0.0, abs(value - base) - chance), value - base)


def _lengths(now: Behaviour, parent: Behaviour, bounds: Bounds) -> list[Drift]:
    base = max(parent.length, 1e-9)
    longer = (difference(now, parent, "length") or 0.0) / base
    message = f"answers are {now.length:.0f} tokens long where the parent's are {parent.length:.0f}"
    drifts = [
        Drift(-longer / (1 - bounds.shortest), "length_collapse", message),
        Drift(longer / (bounds.longest - 1), "length_runaway", message),
    ]
    more = difference(now, parent, "ends")
    # Near max_new_tokens no answer can grow longer by much: then it shows in how few of them still end.
    if more is not None and now.ends is not None and parent.ends:
        text = f"{percent(now.ends)} of the answers end by themselves where {percent(parent.ends)} of the parent's do; "
        drifts.append(
            Drift(-more / (parent.ends * (1 - bounds.ends)), "answers_cut_off", text + "the rest are cut off")
        )
    return drifts


def _sameness(now: Behaviour, parent: Behaviour, bounds: Bounds) -> list[Drift]:
    drifts = []
    for units, name in (("answers", "distinct"), ("word pairs", "distinct_2")):
        share, base = getattr(now, name), getattr(parent, name)
        if base > 0:  # a parent that answers in single words has no pairs to compare
            used = -(difference(now, parent, name) or 0.0) / (base * (1 - bounds.distinct))
            text = f"{percent(share)} of the {units} differ from each other, where {percent(base)} of the parent's do"
            drifts.append(Drift(used, "answers_alike", text))
    rise = difference(now, parent, "entropy")
    if rise is not None and parent.entropy and parent.entropy > 0:
        text = f"the entropy is {now.entropy:.2f} nats a token where the parent's is {parent.entropy:.2f}"
        drifts.append(Drift(-rise / (parent.entropy * (1 - bounds.lowest_entropy)), "entropy_collapse", text))
        if bounds.entropy is not None:
            drifts.append(Drift(rise / bounds.entropy, "entropy_runaway", text))
    return drifts


def _fluency(now: Behaviour, parent: Behaviour, bounds: Bounds) -> list[Drift]:
    drifts = []
    rise, foreign = difference(now, parent, "surprise"), difference(now, parent, "foreign")
    if rise is not None and bounds.surprise is not None:
        text = (
            f"the answers surprise the parent by {now.surprise:.2f} nats a token, "
            f"where its own do by {parent.surprise:.2f}: they may read less well"
        )
        drifts.append(Drift(rise / bounds.surprise, "surprise_limit", text))
    if foreign is not None and now.foreign is not None and bounds.foreign is not None:
        text = f"{percent(now.foreign)} of the characters are emoji or letters of scripts that the parent does not use"
        drifts.append(Drift(foreign / bounds.foreign, "foreign_scripts", text))
    return drifts
