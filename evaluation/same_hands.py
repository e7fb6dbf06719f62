"""Votes on the training side follow their voters: whoever is held for how they vote on the eval side teaches nothing.

Nobody is judged by votes on the training side, as they rank nothing. But a model learns from them, and those of the
same hands as held ones are no better.
"""

from __future__ import annotations

from django.db.models import Q, QuerySet

from annotate.models import Comparison, Hold, Judge, Project, Side, Status

Ids = list[int]
_OUT = [Status.HELD, Status.EXCLUDED]  # by the software, and when a manager has agreed with it


def changes(project: Project) -> tuple[dict[str, Ids], Ids]:
    """(ids of votes of the training side to hold, by kind; ids to release), as those of the eval side stand."""
    cast = Comparison.objects.filter(project=project, battle__isnull=False, judge=Judge.PERSON)
    teaching, ranking = cast.filter(prompt__side=Side.TRAIN), cast.filter(prompt__side=Side.EVAL)
    theirs = {Hold.PATTERN: _of_people(ranking), Hold.ADDRESS_PATTERN: _of_addresses(ranking)}
    held: dict[str, Ids] = {}
    for kind, mine in theirs.items():
        known = [pk for ids in held.values() for pk in ids]
        held[kind] = _ids(teaching.filter(mine, status=Status.COUNTED).exclude(pk__in=known))
    waiting = teaching.filter(status=Status.HELD, battle__trace__held_for__in=list(theirs))
    for mine in theirs.values():
        waiting = waiting.exclude(mine)
    return {kind: ids for kind, ids in held.items() if ids}, _ids(waiting)


def _of_people(ranking: QuerySet[Comparison]) -> Q:
    held = ranking.filter(status__in=_OUT, battle__trace__held_for=Hold.PATTERN)
    accounts = held.filter(author__isnull=False).values("author")
    visitors = held.filter(author=None).exclude(visitor="").values("visitor")
    return Q(author__in=accounts) | Q(author=None, visitor__in=visitors)


def _of_addresses(ranking: QuerySet[Comparison]) -> Q:
    held = ranking.filter(status__in=_OUT, battle__trace__held_for=Hold.ADDRESS_PATTERN)
    addresses = held.exclude(battle__trace__address="").values("battle__trace__address")
    return Q(battle__trace__address__in=addresses)


def _ids(rows: QuerySet[Comparison]) -> Ids:
    return list(rows.order_by("pk").values_list("pk", flat=True))
