"""What to ask next: items on which annotators disagree with each other, or with the reward model, the widest first.

On the train split they can go back to annotators, first in the queue, until enough others have judged them. What the
eval split disagrees about is shown and stays in the arena: nothing of it leaves its split.

How wide: people give points (a win 1, a tie ½, a loss 0; stars from 1 to 5), and the variance of these is set against
the largest there can be, an even split. A split of two votes says less than one of ten: it counts n/(n + 1) of its
width. Where the reward model foresaw a share p of votes and people gave q, the width is (p − q)², likewise.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.db import transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Greatest, Least

from annotate.core.db.prepared import Prepared, Slot
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.queue.choosing import COMPARE, RATE, Item, UrgentPair
from annotate.models import Assignment, Comparison, Completion, Project, Prompt, Rating, Split, User, Winner
from common.whole_numbers import row_ids
from evaluation.leaderboard.pairwise import POINTS
from evaluation.models import AskedAgain
from training.core.run_directory import Row
from training.models import Review, Run

MOST = 50
MOST_AT_ONCE = 200
MORE_JUDGES = 3
PEOPLE, REWARD_MODEL = "between annotators", "judges and the reward model"


@dataclass(frozen=True)
class Dispute:
    """One item and how far opinions of it lie apart. `width` is 0 for one mind and near 1 for an even split."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    between: str
    width: float
    judged: int
    reason: str

    @property
    def key(self) -> str:
        return Item(self.prompt.pk, tuple(sorted(c.pk for c in self.completions))).key

    @property
    def question(self) -> str:
        return str(self.prompt.messages[-1]["content"])


@dataclass(frozen=True)
class Found:
    prompt: int
    completions: tuple[int, ...]  # ascending
    between: str
    width: float
    judged: int
    reason: str


def disputes(project: Project, side: str, judge: str, most: int = MOST) -> list[Dispute]:
    """The widest first; an item once, for the wider of its reasons."""
    found = [*_between_judges(project, side, judge), *_over_stars(project, side, judge)]
    found += [*_with_a_run_that_asked(project, side, judge), *_with_reward_models(project, side, judge)]
    widest: dict[tuple[int, ...], Found] = {}
    for one in sorted(found, key=lambda one: -one.width):
        widest.setdefault(one.completions, one)
    chosen = [one for one in widest.values() if one.width > 0][:most]
    prompts = Prompt.objects.in_bulk({one.prompt for one in chosen})
    answers = Completion.objects.in_bulk({pk for one in chosen for pk in one.completions})
    return [
        Dispute(
            prompts[one.prompt],
            tuple(answers[pk] for pk in one.completions),
            one.between,
            one.width,
            one.judged,
            one.reason,
        )
        for one in chosen
    ]


def width_of(points: Iterable[float], span: float = 1.0) -> float:
    """Variance over the largest that points within `span` can have, times n/(n + 1); 0 for fewer than two points."""
    values = list(points)
    n = len(values)
    if n < 2:
        return 0.0
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / n
    return variance / (span / 2) ** 2 * n / (n + 1)


# --- asking again ---


@transaction.atomic
def ask_again(*, project: Project, keys: Iterable[str], by: User, more: int | str = MORE_JUDGES) -> list[AskedAgain]:
    """Put items of the train split first in the queue, for `more` judges each beyond those who have judged them.

    An item is named as in the queue: compare:<id>:<id> or rate:<id>, smaller id first. Refused in the eval split.
    """
    require(by, "research", project)
    Project.objects.select_for_update(no_key=True).filter(pk=project.pk).values_list("pk").first()  # one row an item
    items = [_item(project, key) for key in dict.fromkeys(keys)]
    if not 1 <= len(items) <= MOST_AT_ONCE:
        raise Refused(400, chosen=f"Choose 1 to {MOST_AT_ONCE} items.")
    if not isinstance(more, int) or isinstance(more, bool) or not 1 <= more <= 100:
        raise Refused(400, more="Say how many more annotators each item is to have, from 1 to 100.")
    return [_ask(project, item, by, more) for item in items]


_open = Prepared(lambda: AskedAgain.objects.filter(project=Slot("project"), is_open=True))


def pairs_first(project: Project) -> list[UrgentPair]:
    """For the queue: what was asked again and has not enough judges yet, the latest first."""
    return [
        UrgentPair(row.prompt_id, item_of(row).completion_ids, is_open=True, is_reserved=False, places=row.places)
        for row in _open.rows(project=project.pk)
    ]


def waiting(project: Project) -> int:
    """How many of the items asked again still wait for an annotator; those that have enough are closed."""
    rows = list(AskedAgain.objects.filter(project=project, is_open=True))
    judged = _judged(project, [item_of(asked).key for asked in rows])
    enough = [asked.pk for asked in rows if judged[item_of(asked).key] >= asked.places]
    if enough:
        AskedAgain.objects.filter(pk__in=enough).update(is_open=False)
    return len(rows) - len(enough)


def periodic_task() -> bool:
    """Do the periodic task: what has been judged often enough is no burden on the queue."""
    for project in Project.objects.filter(asked_again__is_open=True).distinct():
        waiting(project)
    return False


def item_of(asked: AskedAgain) -> Item:
    ids = (asked.completion_a_id, asked.completion_b_id)
    return Item(asked.prompt_id, tuple(sorted(pk for pk in ids if pk is not None)))


def _ask(project: Project, item: Item, by: User, more: int) -> AskedAgain:
    places = _judged(project, [item.key])[item.key] + more
    a, b = (*item.completion_ids, None)[:2]
    asked, is_new = AskedAgain.objects.get_or_create(
        project=project,
        prompt_id=item.prompt_id,
        completion_a_id=a,
        completion_b_id=b,
        defaults={"places": places, "by": by},
    )
    if not is_new and (asked.places < places or not asked.is_open):
        asked.places, asked.is_open = max(asked.places, places), True
        asked.save(update_fields=["places", "is_open"])
    return asked


def _judged(project: Project, keys: Iterable[str]) -> dict[str, int]:
    """By how many people; simulations have places of their own."""
    judged: dict[str, int] = defaultdict(int)
    done = project.assignments.filter(item__in=list(keys), state=Assignment.State.SUBMITTED, user__is_simulated=False)
    for key in done.values_list("item", flat=True):
        judged[key] += 1
    return judged


def _item(project: Project, key: str) -> Item:
    kind, *ids = str(key).split(":")
    numbers = tuple(sorted(row_ids(ids)))
    if kind not in (RATE, COMPARE) or not len(ids) == len(numbers) == (1 if kind == RATE else 2):
        raise Refused(400, chosen=f"{str(key)[:60]!r} is no item; write compare:12:15 or rate:12.")
    answers = list(Completion.objects.filter(pk__in=numbers, prompt__project=project).select_related("prompt"))
    if len(answers) != len(numbers) or len({answer.prompt_id for answer in answers}) != 1:
        raise Refused(400, chosen=f"{key} names no answers to one prompt of {project}.")
    prompt = answers[0].prompt
    if prompt.side != Split.TRAIN:
        raise Refused(
            400, chosen=f"{key} is in the eval split: what annotators judge may train, and that side never does."
        )
    wanted = project.asks_ratings if kind == RATE else project.asks_comparisons
    if not wanted:
        raise Refused(409, chosen=f"{project} does not ask for {'ratings' if kind == RATE else 'comparisons'}.")
    return Item(prompt.pk, numbers)


# --- where opinions lie apart ---


def _between_judges(project: Project, side: str, judge: str) -> Iterator[Found]:
    for prompt, low, high, n, first, ties in _pairs(project, side, judge):
        second = n - first - ties
        if (width := width_of([1.0] * first + [0.5] * ties + [0.0] * second)) > 0:
            reason = f"{first} for one answer, {second} for the other, {ties} for neither"
            yield Found(prompt, (low, high), PEOPLE, width, n, reason)


def _pairs(project: Project, side: str, judge: str) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(prompt, smaller id, larger id, votes, for the smaller, ties) of pairs with two votes or more.

    Added up by the database: most pairs of a large arena have one vote, and none of those leaves it.
    """
    votes = Comparison.objects.counted().by(judge).on_split(side).filter(project=project)  # type: ignore[attr-defined]
    pairs = votes.order_by().annotate(
        low=Least("completion_a", "completion_b"), high=Greatest("completion_a", "completion_b")
    )
    for_low = Q(winner=Winner.MODEL_A, completion_a=F("low")) | Q(winner=Winner.MODEL_B, completion_b=F("low"))
    ties = Q(winner__in=[winner for winner, points in POINTS.items() if points == 0.5])
    counted = pairs.values("prompt", "low", "high").annotate(
        n=Count("pk"), first=Count("pk", filter=for_low), ties=Count("pk", filter=ties)
    )
    rows = counted.filter(n__gt=1).order_by("low", "high")
    yield from rows.values_list("prompt", "low", "high", "n", "first", "ties").iterator(chunk_size=5000)


def _over_stars(project: Project, side: str, judge: str) -> Iterator[Found]:
    ratings = Rating.objects.counted().by(judge).on_split(side).filter(project=project)  # type: ignore[attr-defined]
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    rows = ratings.exclude(stars=None).order_by("id").values_list("prompt", "completion", "stars")
    for prompt, completion, stars in rows.iterator(chunk_size=5000):
        found[prompt, completion].append(float(stars))
    for (prompt, completion), stars in found.items():
        if (width := width_of(stars, span=4.0)) > 0:
            text = ", ".join(f"{star:.0f}" for star in sorted(stars))
            yield Found(prompt, (completion,), PEOPLE, width, len(stars), f"stars {text}")


def _with_a_run_that_asked(project: Project, side: str, judge: str) -> Iterator[Found]:
    """The pairs of the human review, where the reward model said beforehand what it expects."""
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


def _with_reward_models(project: Project, side: str, judge: str) -> Iterator[Found]:
    """Pairs that the latest accuracy run of each reward model has scored, as its items keep them."""
    for run in latest_accuracies(project):
        pairs = scored_pairs(run.path / "items.jsonl")
        prompts = {pair.prompt for pair in pairs}
        here = set(project.prompts.filter(pk__in=prompts, side=side).values_list("pk", flat=True))
        rows = Completion.objects.filter(prompt__in=here).values_list("prompt", "text", "pk")
        answers = {(prompt, text): pk for prompt, text, pk in rows}
        name = run.parent.name if run.parent else "The reward model"
        found: dict[frozenset[int], Foreseen] = {}
        for pair in pairs:
            first, second = (answers.get((pair.prompt, text)) for text in (pair.first, pair.second))
            if first and second:
                foreseen = Foreseen(pair.prompt, (first, second), pair.probability, name)
                found.setdefault(frozenset((first, second)), foreseen)
        yield from _parted(project, judge, list(found.values()))


def latest_accuracies(project: Project) -> list[Run]:
    runs = Run.objects.filter(project=project, kind="evaluate", state=Run.State.SUCCEEDED).select_related("parent")
    found = (run for run in runs.order_by("id") if run.config.get("measure") == "reward_accuracy")
    return list({(run.parent_id, run.other_dataset_id): run for run in found}.values())


@dataclass(frozen=True)
class Scored:
    """Two answers to a prompt, by their texts, and the model's probability that the first is the better."""

    prompt: int
    first: str
    second: str
    probability: float


@lru_cache(maxsize=8)
def scored_pairs(path: Path) -> tuple[Scored, ...]:
    """Of a finished run; none without its file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    return tuple(pair for line in lines for pair in _scored(json.loads(line)))


def _scored(item: Row) -> Iterator[Scored]:
    """Items are named by prompt and source; their pairs as evaluation/recipes/reward_accuracy.py shows them."""
    prompt, shown = str(item["id"]).split(" ")[0], item["shown"]
    for pair in shown.get("pairs") or [shown]:
        first, second = pair.get("chosen", pair.get("answer")), pair.get("rejected", pair.get("tied with"))
        if prompt.isdecimal() and first and second and {"score", "other score"} <= pair.keys():
            gap = max(-700.0, min(700.0, pair["score"] - pair["other score"]))
            yield Scored(int(prompt), first, second, 1 / (1 + math.exp(-gap)))


@dataclass(frozen=True)
class Foreseen:
    """What `name` expected beforehand: the probability that the first of the pair is the better one."""

    prompt: int
    pair: tuple[int, int]
    probability: float
    name: str


def _parted(project: Project, judge: str, foreseen: Sequence[Foreseen]) -> Iterator[Found]:
    given = _points_for(project, judge, {one.prompt for one in foreseen})
    for one in foreseen:
        first, second = one.pair
        if not (points := given.get((min(one.pair), max(one.pair)))):
            continue
        share, n = sum(points) / len(points), len(points)
        share = share if first < second else 1 - share
        reason = f"{one.name} expected {one.probability:.0%} of votes for one answer, and it got {share:.0%}"
        width = (one.probability - share) ** 2 * n / (n + 1)
        yield Found(one.prompt, (min(one.pair), max(one.pair)), REWARD_MODEL, width, n, reason)


def _points_for(project: Project, judge: str, prompts: set[int]) -> dict[tuple[int, int], list[float]]:
    """{pair: points for the answer with the smaller id}, of all pairs on these prompts."""
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    votes = Comparison.objects.counted().by(judge).filter(project=project, prompt__in=prompts)  # type: ignore[attr-defined]
    for a, b, winner in votes.order_by().values_list("completion_a", "completion_b", "winner"):
        points = POINTS[Winner(winner)]
        found[min(a, b), max(a, b)].append(points if a < b else 1 - points)
    return found
