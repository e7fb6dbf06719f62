"""Hold votes of the training split whose voters are held for how they vote in the eval split.

Nobody is judged by votes in the training split, as they rank nothing. But a model learns from them, and those of the
same hands as held ones are no better.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db.models import QuerySet

from annotate.models import AnnotatorKind, Comparison, Hold, Project, Split, Status

Ids = list[int]
Names = tuple[int | None, str, str]  # whose vote and from where: account, visitor, address
_OUT = [Status.HELD, Status.EXCLUDED]  # by the software, and when a manager has agreed with it
_NAMES = ("author_id", "visitor", "battle__trace__address")
_AT_ONCE = 500


@dataclass
class _HeldVoters:
    """Accounts, visitors and addresses that are held for how they vote in the eval split."""

    accounts: set[int] = field(default_factory=set)
    visitors: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)

    def kind_of(self, names: Names) -> Hold | None:
        account, visitor, address = names
        if account in self.accounts or (account is None and visitor in self.visitors):
            return Hold.PATTERN
        return Hold.ADDRESS_PATTERN if address in self.addresses else None


def changes(project: Project) -> tuple[dict[str, Ids], Ids]:
    """Return (ids of votes of the training split to hold, by kind; ids to release), by the held votes of the eval
    split."""
    cast = Comparison.objects.filter(project=project, battle__isnull=False, judge=AnnotatorKind.PERSON)
    teaching = cast.filter(prompt__side=Split.TRAIN)
    # Not `ranking`: a vote that was held tells of whoever cast it, whichever answers it was about.
    held_voters = _held_voters(cast.filter(prompt__side=Split.EVAL, status__in=_OUT))
    held_ids: dict[str, Ids] = {}
    for pk, *names in sorted(_votes_of(teaching.filter(status=Status.COUNTED), held_voters)):
        if kind := held_voters.kind_of(tuple(names)):
            held_ids.setdefault(kind, []).append(pk)
    waiting = teaching.filter(status=Status.HELD, battle__trace__held_for__in=[Hold.PATTERN, Hold.ADDRESS_PATTERN])
    rows = waiting.order_by("pk").values_list("pk", *_NAMES)
    return held_ids, [pk for pk, *names in rows if not held_voters.kind_of(tuple(names))]


def _held_voters(ranking: QuerySet[Comparison]) -> _HeldVoters:
    hands = _HeldVoters()
    of_people = ranking.filter(battle__trace__held_for=Hold.PATTERN)
    for account, visitor in of_people.values_list("author_id", "visitor").distinct():
        if account is not None:
            hands.accounts.add(account)
        elif visitor:
            hands.visitors.add(visitor)
    of_addresses = ranking.filter(battle__trace__held_for=Hold.ADDRESS_PATTERN)
    hands.addresses = set(of_addresses.values_list("battle__trace__address", flat=True).distinct()) - {"", None}
    return hands


def _votes_of(rows: QuerySet[Comparison], held_voters: _HeldVoters) -> set[tuple]:
    """Return the votes of these voters.

    Looked up some hundred names at a time: a join of votes with votes is planned badly while a table is filling.
    """
    named: tuple[tuple[str, set], ...] = (
        ("author__in", held_voters.accounts),
        ("visitor__in", held_voters.visitors),
        ("battle__trace__address__in", held_voters.addresses),
    )
    votes: set[tuple] = set()
    for lookup, names in named:
        sorted_names = sorted(names)
        for first in range(0, len(sorted_names), _AT_ONCE):
            votes.update(rows.filter(**{lookup: sorted_names[first : first + _AT_ONCE]}).values_list("pk", *_NAMES))
    return votes
