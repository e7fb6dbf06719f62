"""Load what a judge model and people said of the same answers, as rows and as arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from django.db.models import QuerySet
from django.db.models.functions import Length

from annotate.models import Comparison, Project
from evaluation.core.voter_names import voter_name
from evaluation.metrics.model_judges import SeenVotes
from evaluation.models import Rubric, Verdict

POINTS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "both_bad": 0.5}
_TURNED = {"model_a": "model_b", "model_b": "model_a"}


class JudgedPair(NamedTuple):
    """What the judge says of two answers to a prompt, by its verdict or by its two grades. `a` has the lower id.

    `a_first` and `b_first` are empty on a scale, where no order is shown.
    """

    a: int
    b: int
    points: float
    a_first: str
    b_first: str
    prompt: int
    category: str
    split: str
    model_a: int | None
    model_b: int | None
    longer_by: int

    @property
    def key(self) -> tuple[int, int]:
        return self.a, self.b


@dataclass(frozen=True)
class PersonVote:
    """A counted vote of a person on two answers, those in the order of their ids."""

    a: int
    b: int
    points: float
    person: str
    prompt: int


def judged_pairs(rubric: Rubric, verdicts: QuerySet[Verdict] | None = None) -> list[JudgedPair]:
    """Return all that the judge says of pairs by this version of its rubric, or by these verdicts of it."""
    verdicts = rubric.verdicts.all() if verdicts is None else verdicts
    return list(_of_grades(verdicts) if rubric.form == Rubric.Form.SCALE else _of_verdicts(verdicts))


def _of_verdicts(verdicts: QuerySet[Verdict]) -> Iterator[JudgedPair]:
    ends = ("completion_a", "completion_b")
    rows = verdicts.exclude(completion_b=None).annotate(
        length_a=Length("completion_a__text"), length_b=Length("completion_b__text")
    )
    columns = (*ends, "winner", "a_first", "b_first", *_PROMPT, *(f"{end}__model" for end in ends))
    for row in rows.values_list(*columns, "length_a", "length_b").iterator(5000):
        a, b, winner, a_first, b_first, prompt, category, split, model_a, model_b, length_a, length_b = row
        ends_of = (model_a, model_b, length_a - length_b)
        yield JudgedPair(a, b, POINTS[winner], a_first, b_first, prompt, category, split, *ends_of)


_PROMPT = ("prompt_id", "prompt__category", "prompt__side")


def _of_grades(verdicts: QuerySet[Verdict]) -> Iterator[JudgedPair]:
    """Yield each two graded answers to a prompt by different models, as the grades have it."""
    rows = verdicts.filter(completion_b=None).annotate(length=Length("completion_a__text"))
    by_prompt: dict[tuple[int, str, str], list[tuple]] = defaultdict(list)
    columns = (*_PROMPT, "completion_a", "completion_a__model", "grade", "length")
    for prompt, category, split, *answer in rows.order_by("completion_a").values_list(*columns):
        by_prompt[prompt, category, split].append(tuple(answer))
    for of_prompt, answers in by_prompt.items():
        for (a, model_a, grade_a, length_a), (b, model_b, grade_b, length_b) in combinations(answers, 2):
            if model_a != model_b:
                points = 0.5 + 0.5 * float(np.sign(grade_a - grade_b))
                yield JudgedPair(a, b, points, "", "", *of_prompt, model_a, model_b, length_a - length_b)


def person_votes(rows: QuerySet[Comparison]) -> Iterator[PersonVote]:
    """Yield comparisons in the order they came; who is not named is somebody of their own."""
    columns = ("pk", "completion_a", "completion_b", "winner", "author", "visitor", "prompt")
    for pk, a, b, winner, author, visitor, prompt in rows.order_by("pk").values_list(*columns).iterator(5000):
        person = voter_name(author, visitor, pk)
        turned = _TURNED.get(winner, winner) if a > b else winner
        yield PersonVote(min(a, b), max(a, b), POINTS[turned], person, prompt)


def seen_votes(project: Project, kind: str, pairs: dict[tuple[int, int], JudgedPair]) -> list[PersonVote]:
    """Return the counted votes of this kind of annotators on pairs that the judge has judged."""
    counted = Comparison.objects.counted().by(kind).filter(project=project)
    return [vote for vote in person_votes(counted) if (vote.a, vote.b) in pairs]


def as_arrays(votes: list[PersonVote], pairs: dict[tuple[int, int], JudgedPair]) -> SeenVotes:
    return SeenVotes(
        np.array([vote.points for vote in votes]),
        np.array([pairs[vote.a, vote.b].points for vote in votes]),
        [vote.person for vote in votes],
        [vote.prompt for vote in votes],
        [(vote.a, vote.b) for vote in votes],
    )
