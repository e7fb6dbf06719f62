"""Publish intervals by voters where voters repeat, affordably when votes are many.

Up to EXACT votes the sandwich by voters is computed whenever the votes change. Beyond, that takes a pass over all votes
in the background, at most every so often; in between the sandwich of single votes is scaled, model by model, by how
much wider the last pass made it (the design effect of Kish, 1965). What is published says which, and as of which vote.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from django.core.cache import cache
from django.db import connections
from django.utils import timezone

from evaluation.leaderboard.votes.counts import tally_of_counts
from evaluation.leaderboard.votes.vote_blocks import Block, blocks
from evaluation.models import VoteCounts
from evaluation.ratings import Fit, Tally, tally_indices
from evaluation.ratings.bradley_terry import Z95, fit
from evaluation.ratings.voter_clusters import clustered, score_voters

log = logging.getLogger(__name__)
EXACT = 5_000
FEWEST = 2  # effective voters, below whom nothing can be said of how other voters would vote
_SECONDS_BETWEEN = 30.0
_SHARE_OF_TIME = 20  # a pass of one second is made every twenty seconds at most


@dataclass(frozen=True)
class Spread:
    """Say how votes were spread over voters when they were last read, and how that widened the errors."""

    votes: int
    last_comparison_id: int
    voters: int
    effective: float
    repeat: bool
    critical: float = Z95
    effects: tuple[tuple[int, float], ...] = ()  # model, its variance by voters over that by votes
    at: float = 0.0
    seconds: float = 0.0

    @property
    def by(self) -> str:
        """Return `votes` when nobody voted twice, `few` when too few voters stand behind, else `voters`."""
        if not self.repeat:
            return "votes"
        return "voters" if self.effective >= FEWEST else "few"


def with_intervals(counts: VoteCounts, fitted: Fit) -> tuple[Fit, Spread | None]:
    """Return the fit with the intervals to be published, and what they rest on; None before voters were ever read."""
    if counts.votes <= EXACT:
        try:
            return by_voters(counts, fitted)
        except ValueError as error:  # a vote about a new model came in between: the counts have another state by now
            log.info("Intervals by voters wait for the next look: %s", error)
            return fitted, None
    spread = read_spread(counts)
    if _is_stale(counts, spread):
        _refresh_in_background(counts.pk)
    return (scaled(fitted, spread), spread) if spread else (fitted, None)


def by_voters(counts: VoteCounts, fitted: Fit) -> tuple[Fit, Spread]:
    """Return the fit with intervals by voters, in one pass over the votes. Raises ValueError on a model unknown to the
    fit."""
    return spread_of(fitted, _blocks(counts, fitted), counts.votes, counts.last_comparison_id)


def spread_of(fitted: Fit, votes: Iterable[Block], count: int, last_comparison_id: int) -> tuple[Fit, Spread]:
    """Return the fit with its intervals by voters, where these can say something, and what they rest on."""
    started = time.monotonic()
    counted_fit = replace(fitted, tally=Tally(fitted.models, np.zeros_like(fitted.tally.cells)))
    voters = score_voters(counted_fit, _added_up(votes, counted_fit.tally.cells))
    spread = Spread(count, last_comparison_id, voters.voters, voters.effective, bool(voters.repeat))
    clustering = clustered(counted_fit, voters) if spread.by == "voters" else counted_fit
    plain = np.diagonal(fitted.covariance)
    effects = np.divide(np.diagonal(clustering.covariance), plain, out=np.ones(len(plain)), where=plain > 0)
    return replace(clustering, tally=fitted.tally), replace(
        spread,
        critical=clustering.critical,
        effects=tuple(zip(fitted.models, effects.tolist(), strict=True)),
        at=time.time(),
        seconds=time.monotonic() - started,
    )


def _blocks(counts: VoteCounts, fitted: Fit) -> Iterator[Block]:
    part = {str(counts.part): counts.name} if counts.part else {}
    return blocks(
        counts.project,
        counts.judge,
        models=fitted.models,
        category=part.get("category"),
        language=part.get("language"),
    )


def _added_up(votes: Iterable[Block], cells: np.ndarray) -> Iterator[Block]:
    """Yield the blocks unchanged while adding them up in `cells`.

    Votes may have come since the counts were read, and voters are checked against the votes of their own pass.
    """
    for block in votes:
        cells += tally_indices(block.a, block.b, block.label, len(cells), block.times)
        yield block


def scaled(fitted: Fit, spread: Spread) -> Fit:
    """Return the covariance of single votes, widened as the last pass over voters found; a new model by the usual
    factor."""
    factor, critical = widened(spread, fitted.models)
    return replace(fitted, covariance=fitted.covariance * np.outer(factor, factor), critical=critical)


def widened(spread: Spread | None, models: Sequence[int]) -> tuple[np.ndarray, float]:
    """Return (M,) by which factor errors by votes are too short, and how many errors an interval reaches."""
    if spread is None or spread.by != "voters" or not spread.effects:
        return np.ones(len(models)), Z95
    effects = dict(spread.effects)
    usual = float(np.median(list(effects.values())))
    return np.sqrt([effects.get(model, usual) for model in models]), spread.critical


def read_spread(counts: VoteCounts) -> Spread | None:
    if not counts.spread:
        return None
    effects = tuple((int(model), float(effect)) for model, effect in counts.spread["effects"])
    return Spread(**counts.spread | {"effects": effects})


def _is_stale(counts: VoteCounts, spread: Spread | None) -> bool:
    if spread is None:
        return True
    wait = max(_SECONDS_BETWEEN, _SHARE_OF_TIME * spread.seconds)
    has_changed = (spread.votes, spread.last_comparison_id) != (counts.votes, counts.last_comparison_id)
    return has_changed and time.time() - spread.at > wait


def _refresh_in_background(pk: int) -> None:
    """Refresh in a thread, one pass at a time, whatever the number of pages that ask."""
    if cache.add(_key(pk), True, timeout=3600):
        threading.Thread(target=_refresh_quietly, args=(pk,), name=f"voters-{pk}", daemon=True).start()


def _key(pk: int) -> str:
    return f"voters-are-read:{pk}"


def _refresh_quietly(pk: int) -> None:
    try:
        refresh(pk)
    except Exception:  # the edge of a thread: the page goes on with the intervals that it has
        log.exception("intervals by voters could not be computed")
    finally:
        cache.delete(_key(pk))
        connections.close_all()


def refresh(pk: int) -> Spread | None:
    """Read how votes are spread over voters now, and change the pages' stamp. Return None without votes."""
    counts = VoteCounts.objects.select_related("project").get(pk=pk)
    if not counts.votes:
        return None
    _, spread = by_voters(counts, fit(tally_of_counts(counts)))
    VoteCounts.objects.filter(pk=pk).update(spread=asdict(spread), state=uuid.uuid4().hex, changed_at=timezone.now())
    return spread
