"""List every variant that was ever tried, by parent, and what being the best of many is worth by chance alone.

Who tries seven variants and shows the best shows the luckiest, too (Singh et al., 2025, "The Leaderboard Illusion").
Were all seven equally good, the best one's rating would still lie above theirs by the expected maximum of their errors:
that many points are said beside the winner. The errors are correlated as the fit has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.db.models import Q

from annotate.models import LanguageModel, Project
from evaluation.leaderboard.snapshots import fit_of
from evaluation.models import Leaderboard

DRAWS = 20_000


@dataclass(frozen=True)
class Variants:
    """Policies of one parent that have to do with the project, rated or not, retired or not; the best first."""

    parent: LanguageModel | None
    models: tuple[LanguageModel, ...]
    ratings: dict[int, float]
    inflation: float | None  # rating points; None while fewer than two are rated

    @property
    def rated(self) -> int:
        return len(self.ratings)

    @property
    def best(self) -> LanguageModel | None:
        return self.models[0] if self.ratings else None

    @property
    def rows(self) -> list[tuple[LanguageModel, float | None]]:
        return [(model, self.ratings.get(model.pk)) for model in self.models]


def variants(project: Project, board: Leaderboard) -> list[Variants]:
    """Return families of two and more, the largest first; those that stand alone were chosen from nobody."""
    tried = LanguageModel.objects.policies().filter(Q(contests__project=project) | Q(made_by__project=project))
    families: dict[int | None, list[LanguageModel]] = {}
    for model in tried.distinct().select_related("parent").order_by("id"):
        families.setdefault(model.parent_id, []).append(model)
    covariance = errors_of(board)
    ratings = {row["model"]: row["rating"] for row in board.ratings.get("rows", []) if row["group"] == 0}
    variants = [
        _family(members, ratings, covariance)
        for parent, members in families.items()
        if parent is not None and len(members) > 1
    ]
    return sorted(variants, key=lambda family: -len(family.models))


def errors_of(board: Leaderboard) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the models of a board, and the (M, M) covariance of their ratings."""
    fitted = fit_of(board)
    return (tuple(fitted.models), fitted.covariance) if fitted is not None else ((), np.zeros((0, 0)))


def expected_best(covariance: np.ndarray, draws: int = DRAWS) -> float:
    """Return E[max] of normal errors with mean 0 and this (N, N) covariance: by simulation, the same at every call.

    Drawn in pairs of opposite sign, which leaves the mean of each error exactly 0. Its own error is below 1 % of a
    standard error at 20,000 draws.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0))
    errors = np.random.default_rng(0).standard_normal((draws // 2, len(values))) @ root.T
    return float((errors.max(axis=1) - errors.min(axis=1)).mean() / 2)


def _family(
    members: list[LanguageModel], ratings: dict[int, float], errors: tuple[tuple[int, ...], np.ndarray]
) -> Variants:
    models, covariance = errors
    family_ratings = {model.pk: ratings[model.pk] for model in members if model.pk in ratings and model.pk in models}
    indices = [models.index(pk) for pk in family_ratings]
    block = covariance[np.ix_(indices, indices)]
    inflation = expected_best(block) if len(indices) > 1 and np.isfinite(block).all() else None
    ordered = sorted(members, key=lambda model: (-family_ratings.get(model.pk, -np.inf), model.pk))
    return Variants(members[0].parent, tuple(ordered), family_ratings, inflation)
