"""Find items whose annotators disagree: opposite winners or thumbs, stars two apart, turned pairs of rankings.

Added up by the database: only what is shown leaves it. Of a large project only the items of its newest annotations are
added up: all of them took a second for each 300,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Greatest, Least

from annotate.core.db.kept_totals import is_large
from annotate.labelling.adjudication.actions import judged_by
from annotate.labelling.forms.storage import standing_rows
from annotate.labelling.queue.assigned_items import MOST_TO_RANK
from annotate.models import Assignment, Comparison, Completion, Project, Prompt, Rating, Winner
from common.whole_numbers import row_ids

STARS_APART = 2
MOST = 50
MOST_PAIRS = comb(MOST_TO_RANK, 2)  # of one item: a ranking may be apart in each of its pairs
NEWEST = (2_000, 20_000)  # annotations of a large project that are looked at: the first where they have enough


@dataclass(frozen=True)
class Disagreement:
    """An item to decide; `reason` is in words, `judges` is how many have annotated it."""

    item: str
    kind: str
    prompt: Prompt
    judges: int
    reason: str


def waiting(project: Project, *, judge: str = "person", limit: int = MOST) -> list[Disagreement]:
    """Return the items that nobody has decided yet, the newest annotation first; people are never compared with
    simulations. Of a large project those among its newest annotations."""
    return waiting_among(project, judge=judge, limit=limit)[0]


def waiting_among(project: Project, *, judge: str = "person", limit: int = MOST) -> tuple[list[Disagreement], str]:
    """Return the same, and among how many of the newest annotations they are; "" for all."""
    if not is_large(_submitted(project)):
        return _waiting(judge, limit, Q(project=project)), ""
    items: list[Disagreement] = []
    for newest in NEWEST:
        shared = _shared_among_newest(project, newest)
        items = _waiting(judge, limit, shared) if shared else []
        if len(items) >= limit:
            break
    return items, f"{NEWEST[-1]:,}"


def _submitted(project: Project) -> QuerySet[Assignment]:
    return project.assignments.filter(purpose=Assignment.Purpose.WORK, state=Assignment.State.SUBMITTED)


def _shared_among_newest(project: Project, newest: int) -> Q | None:
    """Return which annotations are of those items of the newest that several people have; None where there are none.

    A list of items: the database finds their annotations by an index, and reads no others.
    """
    items = _submitted(project).order_by("-pk").values("item")[:newest]
    several = _submitted(project).filter(item__in=items).order_by().values("item").annotate(n=Count("pk"))
    shared = list(several.filter(n__gt=1).values_list("item", flat=True))
    return Q(assignment__in=project.assignments.filter(item__in=shared).values("pk")) if shared else None


def _waiting(judge: str, limit: int, among: Q) -> list[Disagreement]:
    rows = [row for apart in _WAYS_APART for row in apart(judge, among).order_by("-last")[: limit * MOST_PAIRS]]
    by_item: dict[str, dict] = {}
    for row in sorted(rows, key=lambda row: -row["last"]):
        by_item.setdefault(row["assignment__item"], row)
    newest = list(by_item.items())[:limit]
    prompts = Prompt.objects.in_bulk({row["prompt"] for _, row in newest})
    return [
        Disagreement(item, row["assignment__kind"], prompts[row["prompt"]], row["judges"], _reason(row))
        for item, row in newest
    ]


def items_apart(project: Project, among: Q, judge: str = "person") -> set[str]:
    """Return the items, of those annotations that `among` names, that nobody has decided and that are apart."""
    among &= Q(project=project)
    return {row["assignment__item"] for apart in _WAYS_APART for row in apart(judge, among)}


@dataclass(frozen=True)
class Answer:
    """One annotator's annotation of an item, in words."""

    assignment: Assignment
    words: str
    comment: str
    seconds: float | None


def answers_to(project: Project, key: str, letters: dict[int, str]) -> list[Answer]:
    """Return each annotator's answer, in the order they came; `letters` name the answers as the reader sees them."""
    answers = []
    for assignment in judged_by(project, key).select_related("user", "project"):
        rows = [row for row in standing_rows(assignment) if not getattr(row, "ranking_id", None)]
        words = "; ".join(text for row in rows if (text := words_of(row, letters)))
        comment = next((row.comment for row in rows if row.comment), "")
        seconds = next((row.seconds for row in rows if row.seconds is not None), None)
        answers.append(Answer(assignment, words or "no annotation that counts", comment, seconds))
    return answers


def words_of(row: Any, letters: dict[int, str]) -> str:
    """Return an annotation in a few words."""
    name = row._meta.model_name
    if name == "comparison":
        return _winner_words(row, letters)
    if name == "rating":
        thumb = {True: "thumbs up", False: "thumbs down", None: ""}[row.thumbs]
        stars = f"{row.stars} of 5 stars" if row.stars else ""
        aspects = [f"{k} {v}" for k, v in row.aspects.items()]
        return ", ".join(filter(None, [thumb, stars, *aspects]))
    if name == "ranking":
        return " > ".join(" = ".join(letters.get(pk, "?") for pk in equals) for equals in row.order)
    if name == "span":
        return f"marked “{row.text[:60]}” as {row.label}"
    return "wrote an answer" if name == "demonstration" else ""


def answers_of(key: str) -> list[Completion]:
    """Return the answers of an item, in ascending order of ids."""
    ids = row_ids(key.split(":")[1:])
    completions = Completion.objects.in_bulk(ids)
    return [completions[pk] for pk in ids if pk in completions]


def _winner_words(row: Comparison, letters: dict[int, str]) -> str:
    ends = {Winner.MODEL_A: row.completion_a_id, Winner.MODEL_B: row.completion_b_id}
    if row.winner not in ends:
        return "about the same" if row.winner == Winner.TIE else "both are bad"
    degree = {1: "slightly ", 2: "", 3: "much ", None: ""}[row.strength]
    return f"{letters.get(ends[Winner(row.winner)], '?')} is {degree}better"


def _work(rows: Any, judge: str, among: Q) -> QuerySet:
    """Return counted annotations of the work itself, on items that nobody has decided and whose prompts are not out.

    `among` says which; whether they are all of a project's, or of some assignments, decides by which index they are
    found.
    """
    decided = Assignment.objects.filter(
        project=OuterRef("project"),
        item=OuterRef("assignment__item"),
        purpose=Assignment.Purpose.ADJUDICATION,
        state=Assignment.State.SUBMITTED,
    )
    rows = rows.counted().by(judge).filter(among, assignment__purpose=Assignment.Purpose.WORK, prompt__out_since=None)
    return rows.filter(~Exists(decided)).order_by()


def _opposite(judge: str, among: Q) -> QuerySet[Any, dict]:
    """Return items with opposite winners, of comparisons and of pairs of rankings."""
    rows = _work(Comparison.objects.all(), judge, among).annotate(
        low=Least("completion_a", "completion_b"), high=Greatest("completion_a", "completion_b")
    )
    for_low = Q(winner=Winner.MODEL_A, completion_a=F("low")) | Q(winner=Winner.MODEL_B, completion_b=F("low"))
    for_high = Q(winner=Winner.MODEL_A, completion_a=F("high")) | Q(winner=Winner.MODEL_B, completion_b=F("high"))
    grouped = rows.values("prompt", "assignment__item", "assignment__kind", "low", "high").annotate(
        first=Count("pk", filter=for_low),
        second=Count("pk", filter=for_high),
        judges=Count("author", distinct=True),
        last=Max("assignment"),
    )
    return grouped.filter(first__gt=0, second__gt=0)


def _stars_apart(judge: str, among: Q) -> QuerySet[Any, dict]:
    rows = _work(Rating.objects.exclude(stars=None), judge, among)
    grouped = rows.values("prompt", "assignment__item", "assignment__kind").annotate(
        lowest=Min("stars"), highest=Max("stars"), judges=Count("author", distinct=True), last=Max("assignment")
    )
    return grouped.filter(highest__gte=F("lowest") + STARS_APART)


def _opposite_thumbs(judge: str, among: Q) -> QuerySet[Any, dict]:
    rows = _work(Rating.objects.exclude(thumbs=None), judge, among)
    grouped = rows.values("prompt", "assignment__item", "assignment__kind").annotate(
        up=Count("pk", filter=Q(thumbs=True)),
        down=Count("pk", filter=Q(thumbs=False)),
        judges=Count("author", distinct=True),
        last=Max("assignment"),
    )
    return grouped.filter(up__gt=0, down__gt=0)


_WAYS_APART = (_opposite, _stars_apart, _opposite_thumbs)


def _reason(row: dict) -> str:
    if "up" in row:
        return f"thumbs: {row['up']} up, {row['down']} down"
    if "lowest" in row:
        return f"stars from {row['lowest']} to {row['highest']}"
    fewer, more = sorted((row["first"], row["second"]))
    turned = "a pair of the ranking turned around: " if row["assignment__kind"] == "rank" else ""
    return f"{turned}{more} for one answer, {fewer} for the other"
