"""Votes of people as arrays, counted ones and those held for how their voters vote, with where they came from."""

from __future__ import annotations

import numpy as np
from django.db.models import Exists, OuterRef, Q

from annotate.models import AnnotatorKind, Comparison, Project, Status, StatusChange
from evaluation.core.voter_names import voter_name
from evaluation.leaderboard.votes.vote_blocks import SAID, comparisons
from evaluation.vote_integrity.suspects import NOBODY, PATTERNS, Votes, bands

HALF_DAY = 12 * 60 * 60  # seconds
MOST = 200_000  # the latest votes; what older ones say is in no further doubt


def read(project: Project) -> Votes:
    """Return the votes that rank models, and those that are held for a pattern only.

    A vote that a person has decided about counts, or not, as they decided.
    """
    decided = StatusChange.objects.filter(
        kind=Comparison._meta.model_name, feedback_id=OuterRef("pk"), by__isnull=False
    )
    rows = comparisons(project, AnnotatorKind.PERSON).annotate(label=SAID, decided=Exists(decided))
    watched = Q(status=Status.HELD, battle__trace__held_for__in=PATTERNS, decided=False)
    rows = rows.filter(Q(status=Status.COUNTED) | watched).order_by("-id")
    columns = ("id", "author_id", "visitor", "battle__trace__address", "created_at", "completion_a__model")
    more_columns = ("completion_b__model", "label", "status", "battle__trace__held_for", "decided", "battle_id")
    vote_rows = list(rows.values_list(*columns, *more_columns)[:MOST])
    vote_rows.reverse()
    if not vote_rows:
        return _none()
    pk, author, visitor, address, at, a, b, label, status, held_for, is_decided, battle = zip(*vote_rows, strict=True)
    models = tuple(sorted({*a, *b}))
    person = _numbered([voter_name(account, name) for account, name in zip(author, visitor, strict=True)])
    band = bands(person, np.array([account is None for account in author]))
    return Votes(
        vote=np.array(pk, dtype=np.int64),
        person=person,
        address=_numbered([hashed or "" for hashed in address]),
        band=band,
        half_day=np.where(band == 0, np.array([int(moment.timestamp()) // HALF_DAY for moment in at]), NOBODY),
        a=np.searchsorted(models, np.array(a)),
        b=np.searchsorted(models, np.array(b)),
        label=np.array(label, dtype=np.int64),
        held=np.array(
            [
                PATTERNS.index(kind) + 1 if state == Status.HELD else 0
                for state, kind in zip(status, held_for, strict=True)
            ]
        ),
        free=np.array([b is not None and not d for b, d in zip(battle, is_decided, strict=True)]),
        models=models,
    )


def _none() -> Votes:
    nothing = np.zeros(0, dtype=np.int64)
    a, b, label, held = (nothing,) * 4
    return Votes(nothing, nothing, nothing, nothing, nothing, a, b, label, held, nothing.astype(bool), ())


def _numbered(names: list[str]) -> np.ndarray:
    unique_names, number = np.unique(np.array(names), return_inverse=True)
    return np.where(unique_names[number] == "", NOBODY, number).astype(np.int64)
