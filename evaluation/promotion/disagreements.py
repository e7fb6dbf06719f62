"""Find items on which annotators disagree, with each other or with the reward model, and by how much."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.db.models import Count, F, Q
from django.db.models.functions import Greatest, Least

from annotate.core.artefacts import local_copies
from annotate.models import Comparison, Completion, Project, Rating, Split, Winner
from common.texts import percent
from evaluation.leaderboard.pairwise import POINTS
from training.core.run_directory import Row
from training.models import Review, Run

PEOPLE, REWARD_MODEL = "between annotators", "annotators and the reward model"


@dataclass(frozen=True)
class Disagreement:
    prompt: int
    completions: tuple[int, ...]  # ascending
    between: str
    width: float
    judged: int
    reason: str


def width_of(points: Iterable[float], span: float = 1.0) -> float:
    """Return the variance over the largest that points within `span` can have, times n/(n + 1); 0 for fewer than two
    points."""
    values = list(points)
    n = len(values)
    if n < 2:
        return 0.0
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / n
    return variance / (span / 2) ** 2 * n / (n + 1)


def between_judges(project: Project, side: str, judge: str) -> Iterator[Disagreement]:
    for prompt, low, high, n, first, ties in _pairs(project, side, judge):
        second = n - first - ties
        if (width := width_of([1.0] * first + [0.5] * ties + [0.0] * second)) > 0:
            reason = f"{first} for one answer, {second} for the other, {ties} for neither"
            yield Disagreement(prompt, (low, high), PEOPLE, width, n, reason)


def _pairs(project: Project, side: str, judge: str) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yield (prompt, smaller id, larger id, votes, for the smaller, ties) of pairs with two votes or more.

    Added up by the database: most pairs of a large arena have one vote, and none of those leaves it.
    """
    votes = Comparison.objects.counted().of_work().by(judge).on_split(side).filter(project=project)  # type: ignore[attr-defined]
    pairs = votes.order_by().annotate(
        low=Least("completion_a", "completion_b"), high=Greatest("completion_a", "completion_b")
    )
    for_low = Q(winner=Winner.MODEL_A, completion_a=F("low")) | Q(winner=Winner.MODEL_B, completion_b=F("low"))
    ties = Q(winner__in=[winner for winner, points in POINTS.items() if points == 0.5])
    pair_counts = pairs.values("prompt", "low", "high").annotate(
        n=Count("pk"), first=Count("pk", filter=for_low), ties=Count("pk", filter=ties)
    )
    rows = pair_counts.filter(n__gt=1).order_by("low", "high")
    yield from rows.values_list("prompt", "low", "high", "n", "first", "ties").iterator(chunk_size=5000)


def over_stars(project: Project, side: str, judge: str) -> Iterator[Disagreement]:
    ratings = Rating.objects.counted().of_work().by(judge).on_split(side).filter(project=project)  # type: ignore[attr-defined]
    stars_of: dict[tuple[int, int], list[float]] = defaultdict(list)
    rows = ratings.exclude(stars=None).order_by("id").values_list("prompt", "completion", "stars")
    for prompt, completion, stars in rows.iterator(chunk_size=5000):
        stars_of[prompt, completion].append(float(stars))
    for (prompt, completion), stars in stars_of.items():
        if (width := width_of(stars, span=4.0)) > 0:
            text = ", ".join(f"{star:.0f}" for star in sorted(stars))
            yield Disagreement(prompt, (completion,), PEOPLE, width, len(stars), f"stars {text}")


def with_a_run_that_asked(project: Project, side: str, judge: str) -> Iterator[Disagreement]:
    """Yield the pairs of the human review, where the reward model said beforehand what it expects."""
    if side != Split.TRAIN:
        return
    rows = Review.objects.filter(run__project=project, not_asked="").values_list(
        "prompt", "policy_answer", "parent_answer", "predicted", "run__reward_model__name"
    )
    foreseen = [
        Foreseen(prompt, (policy, parent), predicted, name or "The reward model")
        for prompt, policy, parent, predicted, name in rows
    ]
    yield from _parted(project, judge, foreseen)


def with_reward_models(project: Project, side: str, judge: str) -> Iterator[Disagreement]:
    """Yield pairs that the latest accuracy run of each reward model has scored, as its items keep them."""
    for run in latest_accuracies(project):
        pairs = scored_pairs(local_copies.bring_file(run.path / "items.jsonl"))
        prompts = {pair.prompt for pair in pairs}
        side_prompts = set(project.prompts.filter(pk__in=prompts, side=side).values_list("pk", flat=True))
        rows = Completion.objects.filter(prompt__in=side_prompts).values_list("prompt", "text", "pk")
        answers = {(prompt, text): pk for prompt, text, pk in rows}
        name = run.parent.name if run.parent else "The reward model"
        foreseen_of_pair: dict[frozenset[int], Foreseen] = {}
        for pair in pairs:
            first, second = (answers.get((pair.prompt, text)) for text in (pair.first, pair.second))
            if first and second:
                foreseen = Foreseen(pair.prompt, (first, second), pair.probability, name)
                foreseen_of_pair.setdefault(frozenset((first, second)), foreseen)
        yield from _parted(project, judge, list(foreseen_of_pair.values()))


def latest_accuracies(project: Project) -> list[Run]:
    runs = Run.objects.filter(project=project, kind="evaluate", state=Run.State.SUCCEEDED).select_related("parent")
    accuracy_runs = (run for run in runs.order_by("id") if run.config.get("measure") == "reward_accuracy")
    return list({(run.parent_id, run.other_dataset_id): run for run in accuracy_runs}.values())


@dataclass(frozen=True)
class Scored:
    """Two answers to a prompt, by their texts, and the model's probability that the first is the better."""

    prompt: int
    first: str
    second: str
    probability: float


@lru_cache(maxsize=8)
def scored_pairs(path: Path) -> tuple[Scored, ...]:
    """Yield the scored pairs of a finished run; none without its file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would split a text within its JSON
    except OSError:
        return ()
    return tuple(pair for line in lines if line for pair in _scored(json.loads(line)))


def _scored(item: Row) -> Iterator[Scored]:
    """Return the scored pair of an item. Items are named by prompt and source; their pairs as
    evaluation/recipes/reward_accuracy.py shows them."""
    prompt, shown = str(item["id"]).split(" ")[0], item["shown"]
    for pair in shown.get("pairs") or [shown]:
        first, second = pair.get("chosen", pair.get("answer")), pair.get("rejected", pair.get("tied with"))
        if prompt.isdecimal() and first and second and {"score", "other score"} <= pair.keys():
            gap = max(-700.0, min(700.0, pair["score"] - pair["other score"]))
            yield Scored(int(prompt), first, second, 1 / (1 + math.exp(-gap)))


@dataclass(frozen=True)
class Foreseen:
    """Hold what `name` expected beforehand: the probability that the first of the pair is the better one."""

    prompt: int
    pair: tuple[int, int]
    probability: float
    name: str


def _parted(project: Project, judge: str, foreseen: Sequence[Foreseen]) -> Iterator[Disagreement]:
    points_of_pair = _points_for(project, judge, {one.prompt for one in foreseen})
    for one in foreseen:
        first, second = one.pair
        if not (points := points_of_pair.get((min(one.pair), max(one.pair)))):
            continue
        share, n = sum(points) / len(points), len(points)
        share = share if first < second else 1 - share
        reason = f"{one.name} expected {percent(one.probability)} of votes for one answer, but it got {percent(share)}"
        width = (one.probability - share) ** 2 * n / (n + 1)
        yield Disagreement(one.prompt, (min(one.pair), max(one.pair)), REWARD_MODEL, width, n, reason)


def _points_for(project: Project, judge: str, prompts: set[int]) -> dict[tuple[int, int], list[float]]:
    """Return {pair: points for the answer with the smaller id}, of all pairs on these prompts."""
    points_of_pair: dict[tuple[int, int], list[float]] = defaultdict(list)
    votes = Comparison.objects.counted().of_work().by(judge).filter(project=project, prompt__in=prompts)  # type: ignore[attr-defined]
    for a, b, winner in votes.order_by().values_list("completion_a", "completion_b", "winner"):
        points = POINTS[Winner(winner)]
        points_of_pair[min(a, b), max(a, b)].append(points if a < b else 1 - points)
    return points_of_pair
