"""Explain what one number per model hides: each pair's own votes, and how firmly the order rests on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.core.cache import cache

from annotate.models import LanguageModel, Project
from evaluation.leaderboard.leaderboard_rows import is_early
from evaluation.leaderboard.published import fit_of, state_of
from evaluation.leaderboard.snapshots import tally_of
from evaluation.leaderboard.votes.vote_blocks import blocks
from evaluation.models import Leaderboard
from evaluation.ratings import Fit
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.confidence_sequence import pair_sequences
from evaluation.ratings.exposure import Connectivity, Position, Sampling, connectivity, position, sampling
from evaluation.ratings.fragility import Fragility, VoterFragility, fewest_voters, fewest_votes
from evaluation.ratings.pair_residuals import Cycles, Residuals, cycles, residuals

VOTERS_UP_TO = 200_000  # votes; above, whole voters are not tried one by one
KEPT_SECONDS = 3600


@dataclass(frozen=True)
class Pair:
    """Two models' votes against each other, seen from `a`. Scores are means with a tie as half.

    `lower` and `upper` hold at every look at once. `more` is the leaderboard's: about how many more votes of the two
    decide their difference there; 0 when it is decided, None: no number.
    """

    a: int
    b: int
    wins: int
    ties: int
    losses: int
    observed: float
    expected: float | None
    residual: float | None
    lower: float
    upper: float
    verdict: str  # better, worse, undecided
    more: int | None
    is_early: bool  # the leaderboard's interval of the two hardly bounds their difference

    @property
    def votes(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def is_odd(self) -> bool:
        """Return whether the residual is larger than chance gives one pair in a thousand."""
        return self.residual is not None and abs(self.residual) > 3.29


@dataclass(frozen=True)
class Findings:
    """Findings about one state of a leaderboard; indices point into `models` (ids)."""

    models: tuple[int, ...]
    order: tuple[int, ...]  # of the largest group, best first
    pairs: tuple[Pair, ...]  # most votes first
    shares: tuple[tuple[float | None, ...], ...]  # observed, in `order`
    residuals: Residuals
    cycles: Cycles
    position: Position
    connectivity: Connectivity
    sampling: Sampling
    fragility: Fragility | None
    voters: VoterFragility | None

    @property
    def decided(self) -> int:
        return sum(pair.verdict != "undecided" for pair in self.pairs)

    def of_model(self, pk: int) -> list[Pair]:
        return [pair for pair in self.pairs if pk in (pair.a, pair.b)]


def findings(project: Project, board: Leaderboard) -> Findings | None:
    """Return the findings; None of an empty board. Computed once for each state of the votes."""
    if not board.votes:
        return None
    # One key, whatever the state: a megabyte for every vote would fill a process's memory.
    key, state = (
        f"pair-findings:{project.pk}:{board.judge}",
        (*state_of(board), board.ratings["intervals"].get("as_of", 0)),
    )
    cached: tuple[tuple[int, ...], Findings] | None = cache.get(key)
    if cached is not None and cached[0] == state:
        return cached[1]
    findings = _find(project, board)
    cache.set(key, (state, findings), KEPT_SECONDS)
    return findings


def _find(project: Project, board: Leaderboard) -> Findings:
    tally = tally_of(board)
    fitted = fit(tally)
    members = np.flatnonzero(fitted.group == 0)
    order = members[np.argsort(-fitted.rating[members], kind="stable")]
    pair_residuals = residuals(fitted)
    return Findings(
        models=tuple(tally.models),
        order=tuple(int(i) for i in order),
        pairs=tuple(_pairs(fitted, pair_residuals, fit_of(board) or fitted)),
        shares=tuple(tuple(_number(pair_residuals.observed[i, j]) for j in order) for i in order),
        residuals=pair_residuals,
        cycles=cycles(fitted),
        position=position(fitted),
        connectivity=connectivity(tally),
        sampling=sampling(tally),
        fragility=fewest_votes(fitted),
        voters=_voters(project, board, fitted),
    )


def _pairs(fitted: Fit, pair_residuals: Residuals, ranking: Fit) -> list[Pair]:
    """Return the pairs that met, most votes first. `ranking` is the fit that the leaderboard publishes, with its
    intervals: votes still to come are its alone, so that no two pages say two numbers."""
    tally, sequences = fitted.tally, pair_sequences(fitted.tally)
    better, worse = sequences.lower > 0.5, sequences.upper < 0.5
    pairs = [
        Pair(
            a=tally.models[i],
            b=tally.models[j],
            wins=int(tally.wins[i, j]),
            ties=int(tally.ties[i, j]),
            losses=int(tally.wins[j, i]),
            observed=float(pair_residuals.observed[i, j]),
            expected=_number(pair_residuals.expected[i, j]),
            residual=_number(pair_residuals.residual[i, j]),
            lower=float(sequences.lower[i, j]),
            upper=float(sequences.upper[i, j]),
            verdict="better" if better[i, j] else "worse" if worse[i, j] else "undecided",
            more=ranking.more_votes(i, j),
            is_early=_is_early(ranking, i, j),
        )
        for i, j in _ahead(fitted, pair_residuals.played)
    ]
    return sorted(pairs, key=lambda pair: (-pair.votes, pair.a, pair.b))


def _is_early(ranking: Fit, i: int, j: int) -> bool:
    difference = ranking.difference(i, j)
    return difference is not None and is_early(difference.lower, difference.upper)


def _ahead(fitted: Fit, played: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs that met, the model with the higher rating first."""
    rows, columns = np.nonzero(np.triu(played, 1))
    rating = fitted.rating
    return [
        (int(i), int(j)) if rating[i] >= rating[j] else (int(j), int(i)) for i, j in zip(rows, columns, strict=True)
    ]


def _voters(project: Project, board: Leaderboard, fitted: Fit) -> VoterFragility | None:
    if board.votes > VOTERS_UP_TO:
        return None
    try:
        return fewest_voters(fitted, list(blocks(project, board.judge, models=fitted.models)))
    except ValueError:  # a vote came since the board was read: these are the voters of another one
        return None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def models_of(findings: Findings) -> dict[int, LanguageModel]:
    return LanguageModel.objects.in_bulk(findings.models)


PAIR_COLUMNS = (
    "model", "against", "votes", "wins", "ties", "losses", "score", "always_valid_lower", "always_valid_upper",
    "expected", "residual", "verdict", "more_votes",
)  # fmt: skip


def flat_pair(pair: Pair, models: dict[int, LanguageModel]) -> dict[str, Any]:
    values = (
        models[pair.a].name, models[pair.b].name, pair.votes, pair.wins, pair.ties, pair.losses, _short(pair.observed),
        _short(pair.lower), _short(pair.upper), _short(pair.expected), _short(pair.residual), pair.verdict, pair.more,
    )  # fmt: skip
    return dict(zip(PAIR_COLUMNS, values, strict=True))


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
