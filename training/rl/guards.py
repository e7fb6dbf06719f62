"""Bounds on how far a policy may drift from its parent, checked on each rollout.

A policy trained against a score finds what the score does not see: in a first trial it fell to one-word answers within
nine steps while the score rose. These bounds read the answers and not the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Behaviour:
    """Of a batch of completions. `distinct` is the share of different texts, `distinct_2` of different word pairs."""

    length: float
    distinct: float
    distinct_2: float
    kl: float = 0.0


@dataclass(frozen=True)
class Bounds:
    """Factors on the parent's own figures; `kl` in nats per completion. None switches a bound off."""

    kl: float | None
    shortest: float
    longest: float
    distinct: float


@dataclass(frozen=True)
class Drift:
    """`used` is the share of the nearest bound that is used up: 0 as the parent, beyond 1 out of bounds."""

    used: float
    code: str
    message: str


def distinct_share(texts: Sequence[str]) -> float:
    return len({" ".join(text.lower().split()) for text in texts}) / max(1, len(texts))


def distinct_pairs(texts: Sequence[str]) -> float:
    """Different pairs of neighbouring words over all such pairs; 0 when every text is one word."""
    pairs = [pair for text in texts for pair in pairwise(text.lower().split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def drift(now: Behaviour, parent: Behaviour, bounds: Bounds) -> Drift:
    """The bound that is nearest to being crossed, or crossed the furthest."""
    ratio = now.length / max(parent.length, 1e-9)
    found = [
        Drift(
            (1 - ratio) / (1 - bounds.shortest), "length_collapse",
            f"answers are {now.length:.0f} tokens long where the parent's are {parent.length:.0f}",
        ),
        Drift(
            (ratio - 1) / (bounds.longest - 1), "length_runaway",
            f"answers are {now.length:.0f} tokens long where the parent's are {parent.length:.0f}",
        ),
        *(
            Drift(
                (1 - share / base) / (1 - bounds.distinct), "answers_alike",
                f"{share:.0%} of the {what} differ from each other, where {base:.0%} of the parent's do",
            )
            for what, share, base in (
                ("answers", now.distinct, parent.distinct), ("word pairs", now.distinct_2, parent.distinct_2)
            )
            if base > 0  # a parent that answers in single words has no pairs to compare
        ),
    ]  # fmt: skip
    if bounds.kl is not None:
        found.append(Drift(now.kl / bounds.kl, "kl_limit", f"the KL from the parent is {now.kl:.1f} nats an answer"))
    worst = max(found, key=lambda d: d.used)
    return Drift(max(0.0, worst.used), worst.code, worst.message)
