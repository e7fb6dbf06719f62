"""Say a judge model's figures in words, for its page, and flat, for the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotate.models import Project
from evaluation.core import number_formats as numbers
from evaluation.core.voter_names import voters_of
from evaluation.judge_models.judge_figures import Drift, JudgeFigures, figures_of
from evaluation.judge_models.repeated_verdicts import Repeated
from evaluation.metrics.model_judges import Figure
from evaluation.models import JudgeModel, Rubric

SHARE, DIFFERENCE = (0.0, 1.0), (-0.5, 0.5)  # the scale that an interval is drawn on


@dataclass(frozen=True)
class Sentence:
    """A figure with what it means. `scale` are the ends of its picture."""

    name: str
    title: str
    figure: Figure
    text: str
    scale: tuple[float, float] = SHARE

    @property
    def interval(self) -> str:
        """Return the ends of the interval as the text has its value: shares in percent, points of a pair as such."""
        return _interval(self.figure, numbers.percent if self.scale == SHARE else numbers.signed_nats)


@dataclass(frozen=True)
class JudgeRow:
    """A judge in the list: its newest version, with that version's figures."""

    judge: JudgeModel
    rubric: Rubric
    figures: JudgeFigures


def judge_rows(project: Project, kind: str) -> list[JudgeRow]:
    judges = JudgeModel.objects.filter(project=project).select_related("model", "project")
    return [
        JudgeRow(judge, rubric, figures_of(rubric, kind))
        for judge in judges
        if (rubric := judge.rubrics.select_related("judge__model", "judge__project").first()) is not None
    ]


def sentences(figures: JudgeFigures, kind: str) -> list[Sentence]:
    """Return the figures that there are, each in words."""
    whose = voters_of(kind)
    made = (
        _agreement(figures.agreement, whose),
        _said(
            "same_outcome", "Same outcome", figures.same_outcome, "Of all {n} votes of " + whose + ", ties included, "
            "{value} have the same outcome as its verdict.",
        ),
        _said(
            "consistency", "Consistency", figures.consistency, "Both orders give the same verdict on {value} of {n} "
            "pairs. The others count as ties.",
        ),
        _said(
            "first_shown", "Position bias", figures.first_shown, "When it prefers one answer, that is the one shown "
            "first in {value}, on {n} pairs. Without a position bias it is 50 %.",
        ),
        _lean("length", "Length bias", figures.length, f"It gives the longer answer {{gap}} than {whose} do"),
        _lean("own", "Self-preference", figures.own, f"It gives answers of its own family {{gap}} than {whose} do"),
    )  # fmt: skip
    return [sentence for sentence in made if sentence is not None]


def _agreement(figure: Figure | None, whose: str) -> Sentence | None:
    beside = ""
    if figure is not None and figure.beside is not None:
        beside = f" Others of the {whose} agree with them in {numbers.percent(figure.beside)} of cases."
    text = "Of {n} votes of " + whose + " for one answer, {value} name the answer that it prefers; a tie of it counts "
    return _said("agreement", f"Agreement with {whose}", figure, f"{text}as half.{beside}")


def _said(name: str, title: str, figure: Figure | None, text: str) -> Sentence | None:
    if figure is None:
        return None
    value, n = numbers.percent(figure.value), numbers.thousands(figure.n)
    return Sentence(name, title, figure, text.format(value=value, n=n))


def _lean(name: str, title: str, figure: Figure | None, text: str) -> Sentence | None:
    if figure is None:
        return None
    more = "more" if figure.value >= 0 else "fewer"
    gap = f"{abs(figure.value):.2f} points {more} for a pair"
    known = "" if figure.is_apart else " This may be chance."
    n = f" on the same pairs, {numbers.thousands(figure.n)} votes. A win is one point."
    return Sentence(name, title, figure, text.format(gap=gap) + n + known, DIFFERENCE)


@dataclass(frozen=True)
class Cell:
    """A figure of what a run has heard again: its value, its interval (empty for too few) and how many it is of."""

    value: str
    interval: str
    n: int
    is_apart: bool


@dataclass(frozen=True)
class RepeatedRow:
    """What a run has heard again: the share of the same verdicts, and by how many points of a hundred the judge now
    agrees more with people, and gives one verdict in both orders (None on a scale)."""

    run: int
    at: datetime
    same: Cell
    agreement: Cell | None
    consistency: Cell | None
    has_changed: bool

    @property
    def is_tested(self) -> bool:
        """Return whether a change has an interval, by which it is told from chance."""
        return any(cell is not None and cell.interval for cell in (self.agreement, self.consistency))


def repeated_rows(figures: JudgeFigures) -> list[RepeatedRow]:
    return [
        RepeatedRow(
            run=one.run,
            at=one.at,
            same=_cell(one.same, numbers.percent),
            agreement=_cell(one.agreement_gained, _points) if one.agreement_gained else None,
            consistency=_cell(one.consistency_gained, _points) if one.consistency_gained else None,
            has_changed=one.has_changed,
        )
        for one in figures.repeated
    ]


def _cell(figure: Figure, written: Callable[[float], str]) -> Cell:
    return Cell(written(figure.value), _interval(figure, written), figure.n, figure.is_apart)


def _interval(figure: Figure, written: Callable[[float], str]) -> str:
    lower, upper = figure.lower, figure.upper
    return "" if lower is None or upper is None else f"{written(lower)} to {written(upper)}"


def _points(share: float) -> str:
    return numbers.signed(100 * share)


def flat_figures(figures: JudgeFigures) -> dict[str, Any]:
    """Return the figures as the API gives them."""
    names = ("agreement", "same_outcome", "consistency", "first_shown", "length", "own")
    return {
        "pairs": figures.pairs,
        "votes": figures.votes,
        "persons": figures.persons,
        **{name: _flat(getattr(figures, name)) for name in names},
        "by_category": [{"category": name, **(_flat(figure) or {})} for name, figure in figures.by_category],
        "drift": [_flat_drift(drift) for drift in figures.drift],
        "asked_again": [_flat_repeated(one) for one in figures.repeated],
        "cost": vars(figures.cost),
    }


def _flat(figure: Figure | None) -> dict[str, Any] | None:
    return None if figure is None else vars(figure)


def _flat_repeated(one: Repeated) -> dict[str, Any]:
    return {
        "run": one.run,
        "at": one.at,
        "same_verdict": _flat(one.same),
        "agreement_gained": _flat(one.agreement_gained),
        "consistency_gained": _flat(one.consistency_gained),
        "has_changed": one.has_changed,
    }


def _flat_drift(drift: Drift) -> dict[str, Any]:
    return {
        "version": drift.version,
        "same_verdict": _flat(drift.same),
        "agreement_gained": _flat(drift.agreement_gained),
    }
