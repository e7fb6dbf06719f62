"""Compare what a judge model says with what it said before, by one version of its rubric, where it was asked again.

Whoever serves the model may have put another one behind its endpoint. Of a judge that has not changed, the verdicts
then and now are two draws of one kind: on average neither agrees more with people, nor with itself in both orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db.models import Max

from evaluation.judge_models.judged_pairs import POINTS, JudgedPair, PersonVote, as_arrays, judged_pairs
from evaluation.metrics import model_judges
from evaluation.metrics.model_judges import Figure
from evaluation.models import RepeatedVerdict, Rubric

MOST = 10  # runs, the newest
Pairs = dict[tuple[int, int], JudgedPair]


@dataclass(frozen=True)
class Repeated:
    """What one run has heard again: the share of pairs with the same verdict as before, and by how much more the judge
    now agrees with people, and gives one verdict in both orders (None on a scale)."""

    run: int
    at: datetime
    same: Figure
    agreement_gained: Figure | None
    consistency_gained: Figure | None

    @property
    def has_changed(self) -> bool:
        return any(one is not None and one.is_apart for one in (self.agreement_gained, self.consistency_gained))


def repeated(rubric: Rubric, votes: list[PersonVote]) -> list[Repeated]:
    """Return the runs that have asked this version again, the newest first."""
    rows = RepeatedVerdict.objects.filter(verdict__rubric=rubric).order_by()
    runs = rows.values_list("run_id").annotate(at=Max("created_at")).order_by("-run_id")[:MOST]
    found = [_of_run(rubric, run, at, votes) for run, at in runs]
    return [one for one in found if one is not None]


def _of_run(rubric: Rubric, run: int, at: datetime, votes: list[PersonVote]) -> Repeated | None:
    pairs = judged_pairs(rubric, rubric.verdicts.filter(repeats__run=run))
    then = {pair.key: pair for pair in pairs}
    now = _said_now(rubric, run, then)
    prompts = [pair.prompt for pair in then.values()]
    same = model_judges.share([float(now[key].points == pair.points) for key, pair in then.items()], prompts)
    if same is None:
        return None
    on_both = [vote for vote in votes if (vote.a, vote.b) in then]
    gained = model_judges.gain(as_arrays(on_both, now), as_arrays(on_both, then)) if on_both else None
    return Repeated(run, at, same, gained, _consistency_gained(now, then, prompts))


def _said_now(rubric: Rubric, run: int, then: Pairs) -> Pairs:
    rows = RepeatedVerdict.objects.filter(verdict__rubric=rubric, run=run)
    if rubric.form == Rubric.Form.SCALE:
        grades = {pk: grade or 0.0 for pk, grade in rows.values_list("verdict__completion_a", "grade")}
        return {
            (a, b): pair._replace(points=0.5 + 0.5 * float(np.sign(grades[a] - grades[b])))
            for (a, b), pair in then.items()
        }
    said = rows.values_list("verdict__completion_a", "verdict__completion_b", "winner", "a_first", "b_first")
    return {
        (a, b): then[a, b]._replace(points=POINTS[winner], a_first=a_first, b_first=b_first)
        for a, b, winner, a_first, b_first in said
    }


def _consistency_gained(now: Pairs, then: Pairs, prompts: list[int]) -> Figure | None:
    if not all(pair.a_first for pair in then.values()):
        return None
    gains = [float(_is_consistent(now[key])) - float(_is_consistent(pair)) for key, pair in then.items()]
    return model_judges.change(np.array(gains), prompts)


def _is_consistent(pair: JudgedPair) -> bool:
    return pair.a_first == pair.b_first
