"""Choose the votes that figures of all votes are computed from: of many not each new one, for a fit takes long."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Max, QuerySet, Sum

EACH = 5_000  # votes; beyond it figures follow by hundreds, then by thousands


@dataclass(frozen=True)
class ReadVotes:
    """The first votes, as many as are read. `state` changes when they do, also where one is excluded and another counts
    again: their numbers have another sum. `last` is the last vote of all, 0 without any."""

    votes: QuerySet
    state: str
    last: int


def read_votes(votes: QuerySet) -> ReadVotes:
    """Return the first of these votes, in the order of their numbers."""
    found = votes.order_by().aggregate(count=Count("id"), last=Max("id"), sum=Sum("id"))
    count, last = found["count"], found["last"] or 0
    if (read := count_read(count)) == count:
        return ReadVotes(votes, f"{count} {last} {found['sum']}", last)
    upto = votes.order_by("id").values_list("id", flat=True)[read - 1]
    first = votes.filter(id__lte=upto)
    return ReadVotes(first, f"{read} {upto} {first.order_by().aggregate(sum=Sum('id'))['sum']}", last)


def count_read(count: int) -> int:
    """Return how many of so many votes are read."""
    return count if count <= EACH else count - count % 10 ** (len(str(count)) - 2)
