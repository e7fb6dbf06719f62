"""How likely each pair is to meet in the arena: drawn by these probabilities, and published as they are.

Most of it goes where a vote would teach most about what is to be decided: a candidate against its parent, a candidate
against what is served, and the top of the board. A floor goes to every pair alike, so that everybody stays joined to
everybody by votes, and nobody can be kept from meeting the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.core.cache import cache

from annotate.actions.pairing import contestants
from annotate.models import LanguageModel, Project
from evaluation.checks import parent_of
from evaluation.duels import fit_of
from evaluation.enrolment import champion_of, rule_of
from evaluation.leaderboard import current, default_judge
from evaluation.models import Candidacy
from evaluation.teaching import probabilities

FLOOR = 0.2  # of all battles, spread over all pairs alike
KEPT_SECONDS = 5  # while votes stream in, a fit of a few seconds ago advises as well
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
    """For `annotate.actions.pairing`: they sum to 1 over all pairs of these models."""
    ids = sorted(model.pk for model in models)
    key = f"sampling:{project.pk}:{','.join(map(str, ids))}"
    if (kept := cache.get(key)) is not None:
        return dict(kept)
    found = _mixed(ids, _taught(project, ids))
    cache.set(key, list(found.items()), KEPT_SECONDS)
    return found


def rates(project: Project) -> list[Rate]:
    """Every pair of the arena, the likeliest first."""
    models = {model.pk: model for model in contestants(project)}
    if len(models) < 2:
        return []
    asked = questions(project, list(models))
    found = [
        Rate(models[min(pair)], models[max(pair)], probability, asked.get(pair, ""))
        for pair, probability in weights(project, list(models.values())).items()
    ]
    return sorted(found, key=lambda rate: (-rate.probability, rate.a.pk, rate.b.pk))


def questions(project: Project, ids: Sequence[int]) -> dict[frozenset[int], str]:
    """The pairs on which a decision waits."""
    champion, found = champion_of(project), {}
    here = set(ids)
    candidates = project.candidacies.filter(state__in=UNDECIDED, model__in=ids).select_related("model__parent")
    for candidacy in candidates:
        model = candidacy.model
        for other, why in ((parent_of(model), "candidate and parent"), (champion, "candidate and what is served")):
            if other is not None and other.pk in here and other.pk != model.pk:
                found.setdefault(frozenset((model.pk, other.pk)), why)
    return found


def _taught(project: Project, ids: list[int]) -> Rates:
    rule = rule_of(project)
    board = current(project=project, judge=rule.judge if rule else default_judge(project))
    return probabilities(ids, fit_of(board), set(questions(project, ids)))


def _mixed(ids: list[int], taught: Rates) -> dict[frozenset[int], float]:
    pairs = [frozenset(pair) for pair in combinations(ids, 2)]
    total = sum(taught.get(pair, 0.0) for pair in pairs)
    floor = FLOOR if total > 0 else 1.0
    rest = (1 - floor) / total if total > 0 else 0.0
    return {pair: floor / len(pairs) + rest * taught.get(pair, 0.0) for pair in pairs}
