"""How likely each pair is to meet while a round collects votes: most battles are between its model and the one before,
which the plan's rule reads, some between it and the first, for the line of ratings."""

from __future__ import annotations

from collections.abc import Sequence

from annotate.models import LanguageModel, Project
from evaluation.experiments import pair_rates
from evaluation.experiments.pair_rates import Rates
from evaluation.models import Round, RoundSeries

BEFORE = 0.8  # of a round's battles, where the first is not the one before


def weights(project: Project, models: Sequence[LanguageModel]) -> Rates:
    """Return weights for `annotate.arena.battles.pairing`: they sum to 1 over all pairs of these models."""
    outside = pair_rates.weights(project, models)
    ids = {model.pk for model in models}
    return pair_rates.mixed(outside, [shares for one in _voting(project) if (shares := _shares(one, ids))])


def _voting(project: Project) -> list[Round]:
    """Return the rounds whose models meet and whose votes are not all there; those of a pause, too."""
    live = (RoundSeries.State.RUNNING, RoundSeries.State.PAUSED)
    rows = Round.objects.filter(series__project=project, series__state__in=live, number__gt=0, gain={})
    return list(rows.exclude(entered_at=None).select_related("series"))


def _shares(one: Round, ids: set[int]) -> dict[frozenset[int], float]:
    first = one.series.parent_id
    if one.model_id is None or one.policy_id is None:
        return {}
    pairs = {frozenset((one.model_id, one.policy_id)): 1.0}
    if one.policy_id != first:
        pairs = {frozenset((one.model_id, one.policy_id)): BEFORE, frozenset((one.model_id, first)): 1 - BEFORE}
    here = {pair: share for pair, share in pairs.items() if pair <= ids and len(pair) == 2}
    total = sum(here.values())
    return {pair: share / total for pair, share in here.items()}
