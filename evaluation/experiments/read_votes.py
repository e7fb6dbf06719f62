"""Choose the votes that figures of all votes are computed from: of many not each new one, for a fit takes long. And say
by a mark whether any have changed, which reads none of them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Max, QuerySet, Sum

from annotate.models import Project
from evaluation.leaderboard.votes.counts import counts_of

EACH = 5_000  # votes; beyond it figures follow by hundreds, then by thousands


@dataclass(frozen=True)
class ReadVotes:
    """The first votes, as many as are read. `state` changes when they do, also where one is excluded and another counts
    again: their numbers have another sum. `last` is the last vote of all, 0 without any."""

    votes: QuerySet
    state: str
    last: int


def mark_of(project: Project, judge: str) -> str:
    """Return what is another with each vote on models that comes, counts no more or counts again; "" before the first.
    Ask for it before the votes: what is kept under it is then never older than it says."""
    counts = counts_of(project, judge)
    return counts.state if counts is not None else ""


def read_votes(votes: QuerySet) -> ReadVotes:
    """Return the first of these votes, in the order of their numbers."""
    found = votes.order_by().aggregate(count=Count("id"), last=Max("id"), sum=Sum("id"))
    count, last = found["count"], found["last"] or 0
    if not (left := count - count_read(count)):
        return ReadVotes(votes, f"{count} {last} {found['sum']}", last)
    newest = (
        votes.filter(id__lte=last).order_by("-id").values_list("id", flat=True)
    )  # few: the first are not read again
    *later, upto = newest[: left + 1]
    return ReadVotes(votes.filter(id__lte=upto), f"{count - left} {upto} {found['sum'] - sum(later)}", last)


def count_read(count: int) -> int:
    """Return how many of so many votes are read."""
    return count if count <= EACH else count - count % 10 ** (len(str(count)) - 2)
