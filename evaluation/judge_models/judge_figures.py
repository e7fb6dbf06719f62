"""Compute the figures of a judge model: agreement with people, biases, consistency, drift and cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from annotate.core.chat_api import prices
from annotate.models import LanguageModel, Project, StatusChange
from evaluation.core.kept_figures import Tell
from evaluation.core.recent_values import Recent
from evaluation.judge_models import kept_by_rubric
from evaluation.judge_models.judged_pairs import JudgedPair, PersonVote, as_arrays, judged_pairs, seen_votes
from evaluation.judge_models.repeated_verdicts import Repeated, repeated
from evaluation.metrics import model_judges
from evaluation.metrics.model_judges import Figure, SeenVotes
from evaluation.models import JudgeModel, KeptFigures, RepeatedVerdict, Rubric, Verdict

TOKENS = ("prompt_tokens", "completion_tokens")
FEWEST_IN_CATEGORY = 10  # votes for a winner, below which a category has no figure of its own
_recent = Recent(32)


@dataclass(frozen=True)
class Drift:
    """How another version of the rubric compares on the same pairs: the share with the same verdict, and by how much
    this one agrees more with people."""

    version: int
    same: Figure | None
    agreement_gained: Figure | None


@dataclass(frozen=True)
class Cost:
    """What verdicts took. Tokens are None where the server has not counted those of every reply; dollars, too, where no
    price is set for the model."""

    verdicts: int
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float | None
    dollars: float | None


@dataclass(frozen=True)
class JudgeFigures:
    """The figures of one version of a judge's rubric beside one kind of annotators; None where there is nothing to
    compute one from.

    `length` and `own` are by how much more the judge favours the longer answer, and that of its own family, than
    people do on the same pairs.
    """

    pairs: int
    votes: int
    persons: int
    agreement: Figure | None
    same_outcome: Figure | None
    by_category: list[tuple[str, Figure]]
    consistency: Figure | None
    first_shown: Figure | None
    length: Figure | None
    own: Figure | None
    drift: list[Drift]
    cost: Cost
    repeated: list[Repeated] = field(default_factory=list)


_STORED = (JudgeFigures, Drift, Cost, Figure, Repeated)


def figures_of(rubric: Rubric, kind: str) -> JudgeFigures:
    """Return the figures: of few verdicts and votes as they stand now, of many as the background worker computed them
    last. Raises BeingComputed where it has not done so yet."""
    if rubric.verdicts.exists() and kept_by_rubric.is_large(rubric.judge.project):
        found: JudgeFigures = kept_by_rubric.kept(rubric, kind, KeptFigures.What.JUDGE_MODELS, _STORED)
        return found
    state = _state(rubric)
    if (kept := _recent.get((rubric.pk, kind), state)) is None:
        kept = _computed(rubric, kind)
        _recent.put((rubric.pk, kind), state, kept)
    return kept


def compute_kept(project: Project, kind: str, tell: Tell) -> tuple[str, dict[int, JudgeFigures]]:
    """Return the figures of all versions for the background worker."""
    return kept_by_rubric.compute_each(project, tell, lambda rubric: _computed(rubric, kind))


def _state(rubric: Rubric) -> str:
    verdicts = rubric.judge.rubrics.aggregate(n=Count("verdicts"), last=Max("verdicts__pk"))
    votes = rubric.judge.project.comparisons.aggregate(n=Count("pk"), last=Max("pk"))
    changes = StatusChange.objects.aggregate(last=Max("pk"))
    again = RepeatedVerdict.objects.filter(verdict__rubric__judge=rubric.judge).aggregate(last=Max("pk"))
    return (
        f"{verdicts} {again} {votes} {changes} {rubric.judge.model.prompt_price} {rubric.judge.model.completion_price}"
    )


def _computed(rubric: Rubric, kind: str) -> JudgeFigures:
    pairs = {pair.key: pair for pair in judged_pairs(rubric)}
    votes = seen_votes(rubric.judge.project, kind, pairs) if pairs else []
    both = as_arrays(votes, pairs)
    orders = [pair for pair in pairs.values() if pair.a_first]
    family = family_of(rubric.judge.model)
    return JudgeFigures(
        pairs=len(pairs),
        votes=len(votes),
        persons=len(set(both.person)),
        agreement=model_judges.agreement(both),
        same_outcome=model_judges.same_outcome(both),
        by_category=_by_category(votes, both, pairs),
        consistency=model_judges.share(
            [float(pair.a_first == pair.b_first) for pair in orders], [pair.prompt for pair in orders]
        ),
        first_shown=_first_shown(orders),
        length=model_judges.lean(both, np.array([np.sign(pairs[v.a, v.b].longer_by) for v in votes], dtype=float)),
        own=model_judges.lean(both, np.array([_own(pairs[v.a, v.b], family) for v in votes], dtype=float)),
        drift=_drift(rubric, pairs, votes),
        cost=cost_of(rubric),
        repeated=repeated(rubric, votes),
    )


def _by_category(
    votes: list[PersonVote], both: SeenVotes, pairs: dict[tuple[int, int], JudgedPair]
) -> list[tuple[str, Figure]]:
    category = np.array([pairs[vote.a, vote.b].category for vote in votes])
    figures = [
        (str(name), model_judges.agreement(both.where(category == name))) for name in np.unique(category) if name
    ]
    return [(name, figure) for name, figure in figures if figure and figure.n >= FEWEST_IN_CATEGORY]


def _first_shown(orders: list[JudgedPair]) -> Figure | None:
    """Return how often the answer shown first wins, over both orders, of the verdicts for one of the two."""
    shares, prompts = [], []
    for pair in orders:
        said = [order for order in (pair.a_first, pair.b_first) if order != "tie"]
        if said:
            wins = (pair.a_first == "model_a") + (pair.b_first == "model_b")
            shares.append(wins / len(said))
            prompts.append(pair.prompt)
    return model_judges.share(shares, prompts, 0.5)


def _own(pair: JudgedPair, family: set[int]) -> int:
    return int(pair.model_a in family) - int(pair.model_b in family)


def family_of(model: LanguageModel) -> set[int]:
    """Return the ids of the models that share an ancestor with this one, or that its server calls by the same name."""
    parents = dict(LanguageModel.objects.values_list("pk", "parent"))

    def root(pk: int) -> int:
        seen: set[int] = set()
        while (parent := parents.get(pk)) is not None and pk not in seen:
            seen.add(pk)
            pk = parent
        return pk

    own = root(model.pk)
    family = {pk for pk in parents if root(pk) == own}
    if model.served_name:
        family |= set(LanguageModel.objects.filter(served_name=model.served_name).values_list("pk", flat=True))
    return family


def _drift(rubric: Rubric, pairs: dict[tuple[int, int], JudgedPair], votes: list[PersonVote]) -> list[Drift]:
    found: list[Drift] = []
    if not pairs:
        return found
    for other in rubric.judge.rubrics.exclude(pk=rubric.pk).filter(version__lt=rubric.version):
        before = {pair.key: pair for pair in judged_pairs(other)}
        shared = [pairs[key] for key in pairs.keys() & before.keys()]
        if not shared:
            continue
        same = model_judges.share(
            [float(pair.points == before[pair.key].points) for pair in shared], [pair.prompt for pair in shared]
        )
        on_both = [vote for vote in votes if (vote.a, vote.b) in before]
        now, then = as_arrays(on_both, pairs), as_arrays(on_both, before)
        found.append(Drift(other.version, same, model_judges.gain(now, then)))
    return found


def cost_of(judge: Rubric | JudgeModel) -> Cost:
    """Return what the verdicts of a version took, those asked again too, or those of all versions."""
    if isinstance(judge, JudgeModel):
        verdicts, model = Verdict.objects.filter(rubric__judge=judge), judge.model
        again = RepeatedVerdict.objects.filter(verdict__rubric__judge=judge)
    else:
        verdicts, model = Verdict.objects.filter(rubric=judge), judge.judge.model
        again = RepeatedVerdict.objects.filter(verdict__rubric=judge)
    first, repeats = _sums(verdicts), _sums(again)
    is_counted = first["n"] > 0 and not first["uncounted"] + repeats["uncounted"]
    prompt, completion = (first[name] + repeats[name] if is_counted else None for name in TOKENS)
    dollars = prices.cost_of(model.prompt_price, model.completion_price, prompt, completion)
    seconds = [row["seconds"] for row in (first, repeats) if row["seconds"] is not None]
    return Cost(
        first["n"] + repeats["n"], prompt, completion, sum(seconds) if seconds else None,
        None if dollars is None else float(dollars),
    )  # fmt: skip


def _sums(verdicts: QuerySet) -> dict[str, Any]:
    was_asked = Q(grade__isnull=False) | ~Q(a_first="")  # not so where both texts are the same
    return verdicts.order_by().aggregate(
        n=Count("pk"),
        uncounted=Count("pk", filter=was_asked & (Q(prompt_tokens=None) | Q(completion_tokens=None))),
        seconds=Sum("seconds"),
        **{name: Coalesce(Sum(name), 0) for name in TOKENS},
    )
