"""Compute how likely each pair is to meet in the arena: drawn by these probabilities, and published as they are.

Most of it goes where a vote would teach most about what is to be decided: a candidate against its parent, a candidate
against what is served, and the order at the top of the board (evaluation/ratings/information_gain.py). A floor goes to
every pair alike, so that everybody stays joined to everybody by votes, and nobody can be kept from meeting the others.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.core.cache import cache

from annotate.arena.battles.pairing import PAIR_WEIGHTS, contestants
from annotate.models import LanguageModel, Project
from evaluation.leaderboard.snapshots import current, fit_of
from evaluation.models import Candidacy
from evaluation.promotion.enrolment import annotator_kind_of, champion_of, rule_of
from evaluation.ratings.information_gain import FLOOR, pair_probabilities, weigh_pairs, weigh_top
from evaluation.registry.ancestry import parent_of

TOP = 3  # whose order is worth knowing whatever else is asked
QUESTION = 4.0  # how much more a difference counts on which a decision waits than the order at the top
# Of all battles, evenly over the pairs asked about, where the rule reads a pair's own votes alone: then a vote on
# another pair decides nothing, however much it teaches the ratings.
DIRECT = 0.5
KEPT_SECONDS = 5  # while votes stream in, a fit of a few seconds ago advises as well
_STALE_SECONDS, _LONGEST_SECONDS = 600, 60  # it advises while another is computed; a computation may take that long
UNDECIDED = (Candidacy.State.OPEN, Candidacy.State.READY)
Rates = Mapping[frozenset[int], float]


@dataclass(frozen=True)
class Rate:
    """The share of battles that two models are to have, and why it is more than the floor."""

    a: LanguageModel
    b: LanguageModel
    probability: float
    why: str


def weights(project: Project, models: Sequence[LanguageModel]) -> Rates:
    """Return weights for `annotate.arena.battles.pairing`: they sum to 1 over all pairs of these models.

    One caller at a time computes them again; others get the last ones, and wait for nobody.
    """
    ids = sorted(model.pk for model in models)
    of_these = hashlib.sha256(repr(ids).encode()).hexdigest()[:16]
    key = f"sampling:{project.pk}:{of_these}"
    until, cached = cache.get(key, (0.0, None))
    if cached is not None and (time.time() < until or not cache.add(f"{key}:computed", True, _LONGEST_SECONDS)):
        return dict(cached)
    try:
        computed = _pair_weights(project, ids)
        cache.set(key, (time.time() + KEPT_SECONDS, list(computed.items())), _STALE_SECONDS)
        return computed
    finally:
        cache.delete(f"{key}:computed")


def rates(project: Project) -> list[Rate]:
    """Return every pair of the arena, the likeliest first."""
    models = {model.pk: model for model in contestants(project)}
    if len(models) < 2:
        return []
    reason_by_pair = questions(project, list(models))
    rates = [
        Rate(models[min(pair)], models[max(pair)], probability, reason_by_pair.get(pair, ""))
        for pair, probability in (PAIR_WEIGHTS.first or weights)(project, list(models.values())).items()
    ]
    return sorted(rates, key=lambda rate: (-rate.probability, rate.a.pk, rate.b.pk))


def questions(project: Project, ids: Sequence[int]) -> dict[frozenset[int], str]:
    """Return the pairs on which a decision waits."""
    champion, allowed_ids = champion_of(project), set(ids)
    reason_by_pair: dict[frozenset[int], str] = {}
    candidates = project.candidacies.filter(state__in=UNDECIDED, model__in=ids).select_related("model__parent")
    for candidacy in candidates:
        model = candidacy.model
        for other, reason in (
            (parent_of(model), "candidate and parent"),
            (champion, "candidate and the default model"),
        ):
            if other is not None and other.pk in allowed_ids and other.pk != model.pk:
                reason_by_pair.setdefault(frozenset((model.pk, other.pk)), reason)
    return reason_by_pair


def _pair_weights(project: Project, ids: list[int]) -> dict[frozenset[int], float]:
    fitted = fit_of(current(project=project, judge=annotator_kind_of(project)))
    reason_by_pair, rule = questions(project, ids), rule_of(project)
    direct = DIRECT if reason_by_pair and (rule is None or rule.always_valid) else 0.0
    matters = weigh_pairs(ids, [(min(pair), max(pair), QUESTION) for pair in reason_by_pair]) + weigh_top(
        fitted, ids, TOP
    )
    shares = pair_probabilities(fitted, ids, matters if matters.any() else None, FLOOR / (1 - direct))
    shares = (1 - direct) * (shares + shares.T)  # whichever is shown first
    probabilities = {frozenset((ids[i], ids[j])): float(shares[i, j]) for i, j in combinations(range(len(ids)), 2)}
    return probabilities | {pair: probabilities[pair] + direct / len(reason_by_pair) for pair in reason_by_pair}
