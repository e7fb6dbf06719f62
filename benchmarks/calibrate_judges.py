"""Do intervals by prediction-powered inference hold the truth, and how many votes does a judge model save?

    python benchmarks/calibrate_judges.py [--arenas 1000] [--judges good …] [--pandalm FILE] [--json FILE]

1. Arenas drawn anew each time. A model's answer to a prompt is as good as its strength and a draw of that prompt;
   people with tastes of their own vote, several times each, and call some pairs ties. A judge model is asked about all
   pairs of answers in both orders. What is to be estimated is what endless votes on endless prompts would give.
2. PandaLM's test set: one of its three annotators plays the judge model on all pairs, the two others are the people,
   who give one vote on each of a few pairs. Pairs are drawn with replacement, so that the whole set is the truth.

Printed: how often 95 % intervals of ratings and of differences hold the truth, by people alone and by both; the width
of the latter over that of the former; the judge's mean weight λ; and for a hundred votes, how many are saved.
The same seed prints the same numbers. A share of n is known to ±1.96·√(p(1 − p)/n): 1,000 arenas tell 95 % to ±1.4.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.simulated_arenas import draw_labels, uneven
from evaluation.ratings.bradley_terry import CENTRE, SCALE, Fit, sigmoid, solve
from evaluation.ratings.prediction_powered import Combined, Verdicts, Votes, combine
from evaluation.ratings.voter_clusters import SCORE

Row = dict[str, Any]
PROMPT_SPREAD = 1.5  # log-odds: how much better or worse than usual a model's answer to a prompt is
TASTE = 0.5  # of a person for a model
LENGTH = 0.6  # of how much an answer's length varies, and of how much models differ in it
TIES = 0.3
ANNOTATORS = ("annotator1", "annotator2", "annotator3")
PANDALM_POINTS = {0: 0.5, 1: 1.0, 2: 0.0}


@dataclass(frozen=True)
class Judge:
    """A judge whose log-odds for the answer shown first are `keen` times the difference in quality, and more: `first`
    for its place, `leans` for a model that differs by as much, `length` for each unit that it is longer, `own` for an
    answer of its own family."""

    name: str
    keen: float = 2.5
    first: float = 0.2
    leans: float = 0.0
    length: float = 0.0
    own: float = 0.0


JUDGES = (
    Judge("good"),
    Judge("biased", leans=1.5),
    Judge("length-biased", length=1.5),
    Judge("self-preferring", own=2.0),
    Judge("random", keen=0.0, first=0.0),
)


@dataclass(frozen=True)
class Found:
    """What one arena gave, its true ratings, and how often judge and people name the same winner where both name
    one."""

    combined: Combined
    truth: np.ndarray
    agreement: float


@dataclass(frozen=True)
class Setting:
    models: int
    prompts: int
    persons: int
    each: float  # votes of a person, on average

    @property
    def name(self) -> str:
        return f"{self.models} models, {self.persons} persons with about {self.each:g} votes, {self.prompts} prompts"


SETTINGS = (Setting(5, 300, 60, 8), Setting(8, 400, 150, 6))


def arena_rows(
    arenas: int, seed: int, settings: tuple[Setting, ...] = SETTINGS, judges: Sequence[str] = ()
) -> Iterator[Row]:
    """One row for each setting and judge; of all judges where none is named."""
    for number, setting in enumerate(settings):
        for judge in (judge for judge in JUDGES if judge.name in judges or not judges):
            draws = [_draw(setting, judge, np.random.default_rng((seed, number, arena))) for arena in range(arenas)]
            yield {"arena": setting.name, "judge": judge.name, **_summary(draws)}


def _draw(setting: Setting, judge: Judge, random: np.random.Generator) -> Found:
    size = setting.models
    strengths = random.normal(0, 0.5, size)
    quality = strengths[:, None] + PROMPT_SPREAD * random.standard_normal((size, setting.prompts))
    length = LENGTH * (random.standard_normal((size, 1)) + random.standard_normal((size, setting.prompts)))
    leans = judge.leans * random.standard_normal(size)
    person = np.repeat(np.arange(setting.persons), uneven(setting.persons, setting.each, random))
    a, b = _pairs(len(person), size, random)
    prompt = random.integers(0, setting.prompts, len(person))
    liked = TASTE * random.standard_normal((setting.persons, size))
    gap = quality[a, prompt] - quality[b, prompt] + liked[person, a] - liked[person, b]
    points = SCORE[draw_labels(sigmoid(gap), TIES, random)]
    said = _said(judge, quality, length, leans, random)
    seen = np.zeros((size, size, setting.prompts), dtype=bool)
    seen[np.minimum(a, b), np.maximum(a, b), prompt] = True
    verdict = np.where(a < b, said[np.minimum(a, b), np.maximum(a, b), prompt],
                       1 - said[np.minimum(a, b), np.maximum(a, b), prompt])  # fmt: skip
    one, two, on = np.nonzero(~seen & (np.arange(size)[:, None] < np.arange(size))[:, :, None])
    none = np.zeros(len(person), dtype=np.int64)
    votes = Votes(a, b, points, person, prompt, none, verdict)
    verdicts = Verdicts(one, two, said[one, two, on], on, np.zeros(len(one), dtype=np.int64))
    return Found(combine(tuple(range(size)), votes, verdicts), _truth(strengths), _agreement(points, verdict))


def _agreement(points: np.ndarray, verdict: np.ndarray) -> float:
    decided = (points != 0.5) & (verdict != 0.5)
    return float(np.mean(points[decided] == verdict[decided]))


def _pairs(n: int, size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a = random.integers(0, size, n)
    return a, (a + random.integers(1, size, n)) % size


def _said(
    judge: Judge, quality: np.ndarray, length: np.ndarray, leans: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(M, M, prompts) the judge's points for the row's answer: a win where both orders say so, else half."""
    worth = judge.keen * quality + judge.length * length + leans[:, None]
    worth[0] += judge.own
    gap = worth[:, None, :] - worth[None, :, :]
    shown_first = random.random(gap.shape) < sigmoid(gap + judge.first)
    shown_second = random.random(gap.shape) < sigmoid(gap - judge.first)
    return (shown_first.astype(float) + shown_second) / 2


def _truth(strengths: np.ndarray) -> np.ndarray:
    """(M,) centred, in points: what endless votes of all people on endless prompts would give."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    spread = np.sqrt(2 * (PROMPT_SPREAD**2 + TASTE**2))
    gaps = strengths[:, None] - strengths[None, :]
    mean = (sigmoid(gaps[:, :, None] + spread * nodes) * weights).sum(axis=2) / weights.sum()
    np.fill_diagonal(mean, 0)
    return SCALE * solve(mean, np.zeros(len(strengths)))


def pandalm_rows(path: Path, resamples: int, seed: int, counts: Sequence[int]) -> Iterator[Row]:
    """One row for each annotator as judge model and number of people's votes."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    models = sorted({name for row in rows for name in row["cmp_key"].split("_")})
    ends = np.array([[models.index(name) for name in row["cmp_key"].split("_")] for row in rows])
    points = np.array([[PANDALM_POINTS[row[name]] for name in ANNOTATORS] for row in rows])
    for judge, name in enumerate(ANNOTATORS):
        others = np.delete(points, judge, axis=1)
        truth = _fitted(ends, others.mean(axis=1), len(models))
        for count in counts:
            draws = []
            for number in range(resamples):
                random = np.random.default_rng((seed, judge, count, number))
                votes, verdicts = _resample(ends, others, points[:, judge], count, random)
                found = combine(tuple(models), votes, verdicts)
                draws.append(Found(found, truth, _agreement(votes.points, votes.verdict)))
            yield {"judge model": name, "votes": count, **_summary(draws)}


def _fitted(ends: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    scores = np.zeros((size, size))
    np.add.at(scores, (ends[:, 0], ends[:, 1]), points)
    np.add.at(scores, (ends[:, 1], ends[:, 0]), 1 - points)
    return SCALE * solve(scores, np.zeros(size))


def _resample(
    ends: np.ndarray, others: np.ndarray, said: np.ndarray, count: int, random: np.random.Generator
) -> tuple[Votes, Verdicts]:
    """People vote on `count` pairs drawn with replacement, one of the two on each; the judge says all of as many pairs
    as there are, less these. Each draw is an item of its own."""
    n = len(ends)
    seen, rest = random.integers(0, n, count), random.integers(0, n, n - count)
    none = np.zeros(n, dtype=np.int64)
    points = others[seen, random.integers(0, 2, count)]
    votes = Votes(
        *ends[seen].T, points, person=np.arange(count), prompt=np.arange(count), category=none[:count],
        verdict=said[seen],
    )  # fmt: skip
    verdicts = Verdicts(*ends[rest].T, said[rest], prompt=count + np.arange(len(rest)), category=none[: len(rest)])
    return votes, verdicts


def _summary(draws: list[Found]) -> Row:
    alone = np.array([_held(found.combined.people, found.truth) for found in draws])
    both = np.array([_held(found.combined.combined, found.truth) for found in draws])
    combined = [found.combined for found in draws]
    return {
        "agrees, %": 100 * float(np.mean([found.agreement for found in draws])),
        "people alone: ratings": 100 * alone[:, 0].mean(),
        "differences": 100 * alone[:, 1].mean(),
        "both: ratings": 100 * both[:, 0].mean(),
        "differences ": 100 * both[:, 1].mean(),
        "width": both[:, 2].mean() / alone[:, 2].mean(),
        "error": np.sqrt((both[:, 3] ** 2).mean() / (alone[:, 3] ** 2).mean()),
        "weight": float(np.mean([each.weight for each in combined])),
        "saved of 100": 100 * float(np.mean([each.saved / each.votes for each in combined])),
        "shifted at 5 %": 100 * float(np.mean([(each.shift or 1.0) < 0.05 for each in combined])),
    }


def _held(fitted: Fit, truth: np.ndarray) -> tuple[float, float, float, float]:
    """The shares of ratings and of differences whose interval holds the truth, the differences' mean width, and the
    root of their mean squared error."""
    rating = fitted.rating - CENTRE
    ratings = np.mean(np.abs(rating - truth) <= fitted.critical * fitted.standard_error)
    pairs = [(i, j) for i in range(len(truth)) for j in range(i) if fitted.difference(i, j) is not None]
    ends = [fitted.difference(i, j) for i, j in pairs]
    gaps = [truth[i] - truth[j] for i, j in pairs]
    held = [d.lower <= gap <= d.upper for d, gap in zip(ends, gaps, strict=True) if d]
    width = [d.upper - d.lower for d in ends if d]
    error = [d.value - gap for d, gap in zip(ends, gaps, strict=True) if d]
    return float(ratings), float(np.mean(held)), float(np.mean(width)), float(np.sqrt(np.mean(np.square(error))))


def table(rows: list[Row]) -> str:
    def shown(value: Any) -> str:
        return f"{value:.2f}" if isinstance(value, float) and abs(value) < 3 else (
            f"{value:.1f}" if isinstance(value, float) else str(value))  # fmt: skip

    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(shown(row[head]) for head in heads)} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arenas", type=int, default=1000, help="of each setting; 0: none")
    parser.add_argument("--judges", nargs="+", default=(), choices=[judge.name for judge in JUDGES], help="only these")
    parser.add_argument("--resamples", type=int, default=1000, help="of PandaLM's test set, where it is given")
    parser.add_argument("--pandalm", type=Path, help="pandalm-testset-v1.json")
    parser.add_argument("--votes", type=int, nargs="+", default=(200, 400), help="of people, on its pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all numbers there as well")
    options = parser.parse_args()
    started, told = time.monotonic(), {}
    tables: dict[str, Iterator[Row]] = {}
    if options.arenas:
        tables["simulated arenas"] = arena_rows(options.arenas, options.seed, judges=options.judges)
    if options.pandalm:
        tables["PandaLM's test set"] = pandalm_rows(options.pandalm, options.resamples, options.seed, options.votes)
    for title, rows in tables.items():
        told[title] = list(rows)
        print(f"\n{title}: 95 % intervals hold the truth in, %; width and error over people's alone\n")
        print(table(told[title]), flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
