"""Whom does the quality page name, and how many of them are honest? Simulated judges of known habits, over many seeds.

    python benchmarks/quality.py [--seeds 200] [--judges 50] [--items 500 1000 2000 4000] [--overlap 3]

In each project most judges are honest and differ: in skill, in severity, in a lean to one side up to what the page
allows, in how often they call it level and how fast they are. Four are dishonest: one who takes the first answer in
most cases, one who does not read, and two bots, one that clicks at random and one that presses one button. Known
answers and mirrored repeats are 10 % each. Every project is looked at five times while it grows, and whoever is named
at any look is named. Also run without anybody dishonest: then whoever is named is honest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.metrics import annotator_figures, careless_annotators
from evaluation.metrics.annotator_figures import FIRST, LEVEL, SECOND

LOOKS = 5
GOLD = REPEATS = 0.1
DISHONEST = ("one side", "lazy", "random bot", "one-button bot")


@dataclass(frozen=True)
class Habit:
    """`lead` is how far beyond a coin the judge sees which answer is better; `first` how often the first is taken
    whatever it says; `ties` how often it is called level; `fast` how often it is not read."""

    name: str
    lead: float
    first: float = 0.0
    second: float = 0.0
    ties: float = 0.1
    fast: float = 0.0


def judges_of(random: np.random.Generator, judges: int, dishonest: bool) -> list[Habit]:
    lean = random.uniform(-careless_annotators.LEAN, careless_annotators.LEAN, judges) * 2
    honest = [
        Habit("honest", skill, max(x, 0), max(-x, 0), random.uniform(0, 0.35), random.uniform(0, 0.08))
        for x, skill in zip(lean, random.uniform(0.45, 0.9, judges), strict=True)
    ]
    if not dishonest:
        return honest
    bad = [
        Habit("one side", 0.6, first=0.4),
        Habit("lazy", 0.6, first=0.5, ties=0.1, fast=0.6),
        Habit("random bot", 0.0, ties=0.25),
        Habit("one-button bot", 0.0, first=1.0, fast=1.0),
    ]
    return [*bad, *honest[len(bad) :]]


@dataclass(frozen=True)
class Judged:
    """Comparisons in the order they came: (n,) each; `better` is the side that is the better one."""

    judge: np.ndarray
    unit: np.ndarray
    better: np.ndarray
    side: np.ndarray
    hasty: np.ndarray


def judged(random: np.random.Generator, habits: list[Habit], items: int, overlap: int) -> Judged:
    size = len(habits)
    judge = np.concatenate([random.permutation(size)[:overlap] for _ in range(items)])
    unit = np.repeat(np.arange(items), overlap)
    return said(random, habits, judge, unit, random.integers(0, 2, len(judge)))


def said(
    random: np.random.Generator, habits: list[Habit], judge: np.ndarray, unit: np.ndarray, better: np.ndarray
) -> Judged:
    lead, first, second, ties, fast = (
        np.array([getattr(h, name) for h in habits])[judge] for name in ("lead", "first", "second", "ties", "fast")
    )
    side = np.where(random.random(len(judge)) < (1 + lead) / 2, better, 1 - better)
    side = np.where(random.random(len(judge)) < ties, LEVEL, side)
    pulled = random.random(len(judge))
    side = np.where(pulled < first, FIRST, np.where(pulled > 1 - second, SECOND, side))
    return Judged(judge, unit, better, side, random.random(len(judge)) < fast)


def found(
    work: Judged, gold: Judged, before: Judged, after: Judged, size: int
) -> tuple[set[int], dict[int, list[str]]]:
    """Who is named, and why."""
    chose = work.side != LEVEL
    # Which answer of an item has the smaller number says nothing of which is better.
    by_answer = (work.side ^ work.better ^ (work.unit & 1))[chose]
    shown = np.concatenate([work.side, gold.side, after.side])
    owner = np.concatenate([work.judge, gold.judge, after.judge])
    hasty = np.concatenate([work.hasty, gold.hasty, after.hasty])
    right = annotator_figures.shares(gold.judge, gold.side == gold.better, size, 0.5)
    most, _ = annotator_figures.commonest(owner, shown, 3, size)
    kinds = {
        "gold": careless_annotators.too_blind(right),
        "others": careless_annotators.too_blind(
            annotator_figures.with_others(work.judge[chose], work.unit[chose], by_answer, 2, size)
        ),
        "itself": careless_annotators.too_blind(
            annotator_figures.repeats(before.judge, before.side, after.side, size).same
        ),
        "side": careless_annotators.one_side(annotator_figures.first_chosen(owner, shown, size)),
        "same": careless_annotators.always_the_same(most, 3),
        "hasty": careless_annotators.too_hasty(annotator_figures.shares(owner, hasty, size)),
    }
    evidence = careless_annotators.weigh(kinds, size)
    return {j for j, e in enumerate(evidence) if e.is_flagged}, {j: e.reasons for j, e in enumerate(evidence)}


def cut(of: Judged, share: float) -> Judged:
    n = int(len(of.judge) * share)
    return replace(of, **{name: column[:n] for name, column in vars(of).items()})


def project(seed: int, judges: int, items: int, overlap: int, dishonest: bool) -> tuple[list[Habit], set[int], dict]:
    random = np.random.default_rng(seed)
    habits = judges_of(random, judges, dishonest)
    work = judged(random, habits, items, overlap)
    n = int(len(work.judge) * GOLD)
    gold = said(random, habits, random.integers(0, judges, n), np.arange(n), random.integers(0, 2, n))
    chosen = random.permutation(len(work.judge))[: int(len(work.judge) * REPEATS)]
    before = replace(work, **{name: column[chosen] for name, column in vars(work).items()})
    after = said(random, habits, before.judge, before.unit, 1 - before.better)
    named: set[int] = set()
    reasons: dict[int, list[str]] = {}
    for look in range(1, LOOKS + 1):
        share = look / LOOKS
        now, reasons = found(cut(work, share), cut(gold, share), cut(before, share), cut(after, share), judges)
        named |= now
    return habits, named, reasons


def measure(seeds: int, judges: int, items: int, overlap: int, dishonest: bool) -> dict[str, object]:
    shares, seen, caught, false = [], Counter[str](), Counter[str](), 0
    for seed in range(seeds):
        habits, named, _ = project(seed, judges, items, overlap, dishonest)
        wrong = sum(habits[j].name == "honest" for j in named)
        shares.append(wrong / max(len(named), 1))
        false += wrong
        seen.update(h.name for h in habits)
        caught.update(habits[j].name for j in named)
    return {
        "projects": seeds,
        "judgements each": round(items * overlap / judges * (1 + GOLD + REPEATS)),
        "share of the named who are honest": round(float(np.mean(shares)), 4),
        "projects where an honest judge was named": round(float(np.mean(np.array(shares) > 0)), 4),
        "honest judges named": f"{false} of {seen['honest']}",
        "found": {name: round(caught[name] / seen[name], 3) for name in DISHONEST if seen[name]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--judges", type=int, default=50)
    parser.add_argument("--items", type=int, nargs="*", default=[500, 1000, 2000, 4000])
    parser.add_argument("--overlap", type=int, default=3)
    given = parser.parse_args()
    started = time.monotonic()
    for items in given.items:
        for dishonest in (True, False):
            told = measure(given.seeds, given.judges, items, given.overlap, dishonest)
            print(json.dumps({"dishonest": dishonest, "promise": careless_annotators.PROMISE, **told}))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
