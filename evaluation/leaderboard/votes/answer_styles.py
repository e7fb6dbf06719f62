"""Count the style of the answers that votes are about, once for each answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from django.db.models import Q, QuerySet

from annotate.models import Completion, Project
from evaluation.core.voter_names import voter_name
from evaluation.leaderboard.votes.vote_blocks import SAID, SIZE, counted, places
from evaluation.models import Style
from evaluation.ratings.style_control import StyledVotes, differences
from evaluation.ratings.style_counts import style_of

AT_ONCE = 2000
MOST_AT_A_LOOK = 20_000  # answers counted while a page waits; `manage.py count_styles` counts all

_OF = ("length", "headers", "lists", "bold")
_COLUMNS = tuple(f"completion_{side}__style__{name}" for side in "ab" for name in _OF)


def count_missing(project: Project, judge: str, limit: int | None = None) -> int:
    """Count the style of answers in votes that have none yet, up to `limit`; return how many were counted."""
    total = last = 0
    while limit is None or total < limit:
        uncounted_answers = uncounted(project, judge).filter(
            pk__gt=last
        )  # those counted by now are not passed over each time
        batch = list(uncounted_answers[: AT_ONCE if limit is None else min(AT_ONCE, limit - total)])
        if not batch:
            break
        last = batch[-1].pk
        rows = [Style(completion=answer, **vars(style_of(answer.text))) for answer in batch]
        Style.objects.bulk_create(rows, ignore_conflicts=True)  # another process may count the same ones
        total += len(batch)
    return total


def uncounted(project: Project, judge: str) -> QuerySet[Completion]:
    """Return answers in votes whose style is not counted yet."""
    votes = counted(project, judge)
    # Two lists of ids, each made once: asked of each answer, its votes took a quadratic time on SQLite.
    in_votes = Q(pk__in=votes.values("completion_a")) | Q(pk__in=votes.values("completion_b"))
    return Completion.objects.filter(in_votes, prompt__project=project, style=None).order_by("pk").only("pk", "text")


def styled_votes(project: Project, judge: str, models: Sequence[int]) -> list[StyledVotes]:
    """Return the counted votes whose answers have their style, by voter, in blocks; models as indices in `models`
    (ids)."""
    rows = (
        counted(project, judge)
        .filter(completion_a__style__isnull=False, completion_b__style__isnull=False)
        .annotate(label=SAID)
        .order_by("author_id", "visitor", "id")
        .values_list("author_id", "visitor", "completion_a__model", "completion_b__model", "label", *_COLUMNS)
    )
    stream, blocks, number = rows.iterator(SIZE), [], _Numbered()
    while chunk := list(islice(stream, SIZE)):
        blocks.append(_block(chunk, models, number))
    return blocks


class _Numbered:
    """Number voters as they come: a new number where the name changes."""

    def __init__(self) -> None:
        self.last: str | None = None
        self.number = 0

    def of(self, rows: Sequence[tuple]) -> Iterator[int]:
        for author, visitor, *_ in rows:
            voter = voter_name(author, visitor)
            if voter != self.last:
                self.last, self.number = voter, self.number + 1
            yield self.number


def _block(rows: list[tuple], models: Sequence[int], number: _Numbered) -> StyledVotes:
    a, b, label = (np.array(column, dtype=np.int64) for column in list(zip(*rows, strict=True))[2:5])
    style = np.array([row[5:] for row in rows], dtype=float)
    return StyledVotes(
        a=places(a, models),
        b=places(b, models),
        label=label,
        difference=differences(style[:, : len(_OF)], style[:, len(_OF) :]),
        voter=np.fromiter(number.of(rows), dtype=np.int64, count=len(rows)),
    )
