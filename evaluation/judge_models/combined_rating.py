"""Rate models by people's votes and a judge model's verdicts together, beside people's votes alone.

Never in place of the leaderboard: it is a page and an address of its own, which names the judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.db.models import Count, Max

from annotate.models import Comparison, Completion, LanguageModel, Project, Status, StatusChange
from evaluation.core.kept_figures import Tell
from evaluation.core.recent_values import Recent
from evaluation.core.voter_names import voters_of
from evaluation.judge_models import kept_by_rubric
from evaluation.judge_models.judged_pairs import JudgedPair, PersonVote, judged_pairs, person_votes
from evaluation.leaderboard.votes.vote_blocks import counted
from evaluation.models import KeptFigures, Rubric
from evaluation.ratings.bradley_terry import Difference, Fit, Tally
from evaluation.ratings.prediction_powered import Combined, Verdicts, Votes, combine

_recent = Recent(16)
_STORED = (Combined, Fit, Tally)
Found = tuple[Combined, list[int]]  # and the ids of models that only the judge has seen


@dataclass(frozen=True)
class CombinedRow:
    """A model's rating by both and by people alone; ranks are within its group of compared models."""

    model: LanguageModel
    rating: float
    lower: float
    upper: float
    rank: int
    worst_rank: int
    people: float
    people_lower: float
    people_upper: float
    group: int


@dataclass(frozen=True)
class CombinedRating:
    """`unrated` are the models that the judge has seen, and no annotator has compared."""

    rubric: Rubric
    kind: str
    found: Combined
    rows: list[CombinedRow]
    unrated: list[LanguageModel]

    @property
    def label(self) -> str:
        """Return who rates here, as every place that shows it says."""
        whose = voters_of(self.kind)
        return f"{self.found.votes:,} votes of {whose} and {self.found.verdicts:,} verdicts of {self.rubric}"

    def against(self, model: int, other: int) -> Difference | None:
        models = self.found.combined.models
        return self.found.combined.difference(models.index(model), models.index(other))


def combined_rating(project: Project, kind: str, rubric: Rubric) -> CombinedRating | None:
    """Return the rating by both; None where nobody of this kind has compared two models in the eval split.

    Raises BeingComputed where there are many verdicts or votes, and the background worker has not rated by them yet.
    """
    if rubric.verdicts.exists() and kept_by_rubric.is_large(project):
        return _shown(rubric, kind, kept_by_rubric.kept(rubric, kind, KeptFigures.What.JUDGE_RATINGS, _STORED))
    state = _state(project, kind, rubric)
    if (kept := _recent.get((kind, rubric.pk), state)) is None:
        kept = _shown(rubric, kind, _computed(project, kind, rubric))
        _recent.put((kind, rubric.pk), state, kept)
    return kept


def compute_kept(project: Project, kind: str, tell: Tell) -> tuple[str, dict[int, Found | None]]:
    """Return the ratings with all versions for the background worker."""
    return kept_by_rubric.compute_each(project, tell, lambda rubric: _computed(project, kind, rubric))


def _state(project: Project, kind: str, rubric: Rubric) -> str:
    votes = Comparison.objects.by(kind).filter(project=project).aggregate(n=Count("pk"), last=Max("pk"))
    return f"{votes} {StatusChange.objects.aggregate(last=Max('pk'))} {rubric.verdicts.aggregate(last=Max('pk'))}"


def _computed(project: Project, kind: str, rubric: Rubric) -> Found | None:
    ranking = counted(project, kind)
    votes = list(person_votes(ranking.filter(status=Status.COUNTED)))
    if not votes:
        return None
    models_of = _models(votes)
    pairs = {pair.key: pair for pair in judged_pairs(rubric) if _can_rank(pair)}
    places = {model: place for place, model in enumerate(sorted({m for ends in models_of.values() for m in ends}))}
    seen = {(vote.a, vote.b) for vote in votes}
    categories: dict[str, int] = {}
    category_of = dict(ranking.values_list("prompt", "prompt__category").distinct())
    found = combine(
        tuple(places),
        _votes(votes, models_of, pairs, places, category_of, categories),
        _verdicts([pair for pair in pairs.values() if pair.key not in seen], places, categories),
    )
    others = {m for pair in pairs.values() for m in (pair.model_a, pair.model_b)} - places.keys()
    return found, sorted(model for model in others if model is not None)


def _shown(rubric: Rubric, kind: str, computed: Found | None) -> CombinedRating | None:
    if computed is None:
        return None
    found, unrated = computed
    models = LanguageModel.objects.in_bulk([*found.combined.models, *unrated])
    return CombinedRating(rubric, kind, found, _rows(found, models), [models[model] for model in unrated])


def _can_rank(pair: JudgedPair) -> bool:
    return pair.split == "eval" and None not in (pair.model_a, pair.model_b) and pair.model_a != pair.model_b


def _models(votes: list[PersonVote]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return the two models of each pair of answers."""
    ids = list({pk for vote in votes for pk in (vote.a, vote.b)})
    model_of: dict[int, int] = {}
    for start in range(0, len(ids), 500):
        model_of |= dict(Completion.objects.filter(pk__in=ids[start : start + 500]).values_list("pk", "model"))
    return {(vote.a, vote.b): (model_of[vote.a], model_of[vote.b]) for vote in votes}


def _votes(
    votes: list[PersonVote],
    models_of: dict[tuple[int, int], tuple[int, int]],
    pairs: dict[tuple[int, int], JudgedPair],
    places: dict[int, int],
    category_of: dict[int, str],
    categories: dict[str, int],
) -> Votes:
    persons: dict[str, int] = {}
    ends = [models_of[vote.a, vote.b] for vote in votes]
    judged = [pairs.get((vote.a, vote.b)) for vote in votes]
    return Votes(
        a=np.array([places[a] for a, _ in ends]),
        b=np.array([places[b] for _, b in ends]),
        points=np.array([vote.points for vote in votes]),
        person=np.array([persons.setdefault(vote.person, len(persons)) for vote in votes]),
        prompt=np.array([vote.prompt for vote in votes]),
        category=np.array([categories.setdefault(category_of[vote.prompt], len(categories)) for vote in votes]),
        verdict=np.array([np.nan if pair is None else pair.points for pair in judged]),
    )


def _verdicts(pairs: list[JudgedPair], places: dict[int, int], categories: dict[str, int]) -> Verdicts:
    """Return the verdicts on items without a vote, of models that people have compared with others."""
    known = [pair for pair in pairs if pair.model_a in places and pair.model_b in places]
    return Verdicts(
        a=np.array([places[pair.model_a or 0] for pair in known], dtype=np.int64),
        b=np.array([places[pair.model_b or 0] for pair in known], dtype=np.int64),
        points=np.array([pair.points for pair in known]),
        prompt=np.array([pair.prompt for pair in known], dtype=np.int64),
        category=np.array([categories.setdefault(pair.category, len(categories)) for pair in known], dtype=np.int64),
    )


def _rows(found: Combined, models: dict[int, LanguageModel]) -> list[CombinedRow]:
    both, people, ranks = found.combined, found.people, found.combined.ranks()
    order = sorted(range(len(both.models)), key=lambda i: (both.group[i], -both.rating[i]))
    return [
        CombinedRow(
            model=models[both.models[i]],
            rating=float(both.rating[i]),
            lower=float(both.lower[i]),
            upper=float(both.upper[i]),
            rank=int(ranks[i, 0]),
            worst_rank=int(ranks[i, 1]),
            people=float(people.rating[i]),
            people_lower=float(people.lower[i]),
            people_upper=float(people.upper[i]),
            group=int(both.group[i]),
        )
        for i in order
    ]
