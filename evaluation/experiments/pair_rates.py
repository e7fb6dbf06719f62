"""How likely each pair is to meet while an experiment collects votes: nearly all battles go to its models, where they
teach most about what is compared; the rest goes as it does without one (`promotion/arena_sampling`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations

from django.core.cache import cache

from annotate.models import LanguageModel, Project
from evaluation.experiments.family_tests import AGAINST_BASELINE
from evaluation.leaderboard.snapshots import current, fit_of
from evaluation.models import ArmModel, Experiment
from evaluation.promotion import arena_sampling
from evaluation.ratings.information_gain import pair_probabilities, weigh_pairs

INSIDE = 0.9  # of all battles, while an experiment is open
Rates = Mapping[frozenset[int], float]


def weights(project: Project, models: Sequence[LanguageModel]) -> Rates:
    """Return weights for `annotate.arena.battles.pairing`: they sum to 1 over all pairs of these models."""
    outside = arena_sampling.weights(project, models)
    ids = {model.pk for model in models}
    experiments = list(Experiment.objects.filter(project=project, state=Experiment.State.VOTING).order_by("pk"))
    return mixed(outside, [rates for one in experiments if (rates := _cached(one, ids))])


def mixed(outside: Rates, inside: Sequence[Rates]) -> Rates:
    """Return weights of which most are those inside, in equal parts; those outside where nothing is inside."""
    if not inside:
        return outside
    rates = {pair: (1 - INSIDE) * share for pair, share in outside.items()}
    for of_one in inside:
        for pair, share in of_one.items():
            rates[pair] = rates.get(pair, 0.0) + INSIDE * share / len(inside)
    return rates


def _cached(experiment: Experiment, ids: set[int]) -> dict[frozenset[int], float]:
    digest = hashlib.sha256(repr(sorted(ids)).encode()).hexdigest()[:16]
    key = f"experiment-rates:{experiment.pk}:{digest}"
    if (kept := cache.get(key)) is None:
        kept = list(_rates(experiment, ids).items())
        cache.set(key, kept, arena_sampling.KEPT_SECONDS)
    return dict(kept)


def _rates(experiment: Experiment, ids: set[int]) -> dict[frozenset[int], float]:
    """Return the share of each pair among an experiment's registered models; {} where fewer than two are here."""
    rows = ArmModel.objects.filter(arm__experiment=experiment, entered_at__lte=experiment.entered_at)
    arm_by_model = {
        model: arm
        for model, arm in rows.order_by("pk").values_list("model", "arm__name")
        if model is not None and model in ids
    }
    models = list(arm_by_model)
    if len(models) < 2:
        return {}
    fitted = fit_of(current(project=experiment.project, judge=experiment.plan["judge"]))
    asked = [(a, b, 1.0) for a, b in combinations(models, 2) if is_asked(experiment, arm_by_model[a], arm_by_model[b])]
    matters = weigh_pairs(models, asked)
    shares = pair_probabilities(fitted, models, matters if matters.any() else None)
    shares = shares + shares.T  # whichever is shown first
    return {frozenset((models[i], models[j])): float(shares[i, j]) for i, j in combinations(range(len(models)), 2)}


def is_asked(experiment: Experiment, arm: str, other: str) -> bool:
    """Return whether the plan compares two arms."""
    if arm == other:
        return False
    return experiment.plan["family"] != AGAINST_BASELINE or experiment.plan["baseline"] in (arm, other)
