"""The style of the answers that votes are about: counted once for each answer, and laid beside the votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from django.db.models import Exists, OuterRef, Q, QuerySet

from annotate.models import Completion, Project
from evaluation.leaderboard.votes.vote_blocks import SAID, SIZE, counted, places
from evaluation.models import Style
from evaluation.ratings.style_control import StyledVotes, differences
from evaluation.ratings.style_counts import style_of

AT_ONCE = 2000
MOST_AT_A_LOOK = 20_000  # answers counted while a page waits; `manage.py count_styles` counts all

_OF = ("length", "headers", "lists", "bold")
_COLUMNS = tuple(f"completion_{side}__style__{name}" for side in "ab" for name in _OF)


def count_missing(project: Project, judge: str, most: int | None = None) -> int:
    """Count the style of judged answers that have none yet, up to `most`; how many were counted."""
    done = last = 0
    while most is None or done < most:
        rest = uncounted(project, judge).filter(pk__gt=last)  # those counted by now are not passed over each time
        some = list(rest[: AT_ONCE if most is None else min(AT_ONCE, most - done)])
        if not some:
            break
        last = some[-1].pk
        rows = [Style(completion=answer, **vars(style_of(answer.text))) for answer in some]
        Style.objects.bulk_create(rows, ignore_conflicts=True)  # another process may count the same ones
        done += len(some)
    return done


def uncounted(project: Project, judge: str) -> QuerySet[Completion]:
    """Judged answers whose style nobody has counted yet."""
    votes = counted(project, judge)
    judged = Exists(votes.filter(Q(completion_a=OuterRef("pk")) | Q(completion_b=OuterRef("pk"))))
    return Completion.objects.filter(judged, prompt__project=project, style=None).order_by("pk").only("pk", "text")


def styled_votes(project: Project, judge: str, models: Sequence[int]) -> list[StyledVotes]:
    """Return the counted votes whose answers have their style, by voter, in blocks; places by `models`, ids."""
    rows = (
        counted(project, judge)
        .filter(completion_a__style__isnull=False, completion_b__style__isnull=False)
        .annotate(said=SAID)
        .order_by("author_id", "visitor", "id")
        .values_list("author_id", "visitor", "completion_a__model", "completion_b__model", "said", *_COLUMNS)
    )
    stream, found, number = rows.iterator(SIZE), [], _Numbered()
    while some := list(islice(stream, SIZE)):
        found.append(_block(some, models, number))
    return found


class _Numbered:
    """Voters as they come, each after the other: a new one where the name changes."""

    def __init__(self) -> None:
        self.last: tuple[object, object] | None = None
        self.number = 0

    def of(self, rows: Sequence[tuple]) -> Iterator[int]:
        for author, visitor, *_ in rows:
            who = (author, visitor)
            if who != self.last:
                self.last, self.number = who, self.number + 1
            yield self.number


def _block(rows: list[tuple], models: Sequence[int], number: _Numbered) -> StyledVotes:
    a, b, said = (np.array(column, dtype=np.int64) for column in list(zip(*rows, strict=True))[2:5])
    style = np.array([row[5:] for row in rows], dtype=float)
    return StyledVotes(
        a=places(a, models),
        b=places(b, models),
        said=said,
        difference=differences(style[:, : len(_OF)], style[:, len(_OF) :]),
        voter=np.fromiter(number.of(rows), dtype=np.int64, count=len(rows)),
    )
