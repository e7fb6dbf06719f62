"""Compute each annotator's figures beside everybody else's: agreement, errors on gold items, position and length,
speed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.intervals import wilson
from evaluation.annotator_quality import columns
from evaluation.annotator_quality.columns import ScaleAnswers, Times
from evaluation.annotator_quality.loading import Annotator, Rows
from evaluation.metrics import annotator_figures, careless_annotators
from evaluation.metrics.agreement import Answers
from evaluation.metrics.annotator_figures import Means, Repeats, Severity, Shares
from evaluation.metrics.definitions import RATIO, Metric, share
from evaluation.metrics.figure_intervals import figure
from evaluation.metrics.span_agreement import SpanAgreement

_MATCHED = Metric("F1", share, True, ("matched", "spans"), is_share=True, interval=RATIO, bounds=(0.0, 1.0))


@dataclass(frozen=True)
class Measure:
    """One figure of one annotator with its 95 % interval, None where there is none. `beside` is what chance or the
    others give. `p` is two-sided against that, `p_among` the same after Holm's correction over all annotators of the
    project."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    n: int
    beside: float | None = None
    p: float | None = None
    p_among: float | None = None
    hits: int | None = None


class Measured:
    """All figures of all annotators at once; `of` picks one annotator's."""

    def __init__(
        self, rows: Rows, index_of: dict[Annotator, int], scale_answers: list[ScaleAnswers], marked: SpanAgreement
    ) -> None:
        self.size = size = len(index_of)
        by_kind = {scale.kind: scale.answers for scale in scale_answers if scale.kind != columns.ASPECT}
        self.gold = annotator_figures.shares(*columns.gold(rows, index_of), size)
        chosen = columns.choices(rows, index_of)
        self.first = annotator_figures.first_chosen(chosen.judge, chosen.side, size)
        repeat_columns = columns.repeated(rows, index_of)
        self.repeats: Repeats = annotator_figures.repeats(
            repeat_columns.judge, repeat_columns.before, repeat_columns.after, size
        )
        self.others = _with_others(by_kind, np.array([judge.user is not None for judge in index_of]))
        long = columns.lengths(rows, index_of)
        self.longer, self.length_excess, self.longer_by_others = annotator_figures.longer_than_others(
            long.judge, long.unit, long.longer, size
        )
        stars = _steps(scale_answers)
        self.severity: Severity = annotator_figures.severity(*stars, size)
        self.in_step, self.in_step_n = annotator_figures.in_step(*stars, size)
        self.times: Times = columns.times(rows, index_of)
        self.marked = marked.others
        self.median = float(np.median(self.times.seconds)) if len(self.times.seconds) else None
        self.hasty = annotator_figures.shares(
            self.times.judge, annotator_figures.hasty(self.times.seconds, self.times.characters), size
        )
        self.same = [("answers shown", ("A", "B", "a tie", "both bad"), chosen.judge, chosen.shown)] + [
            (kind, names, by_kind[kind].judge, by_kind[kind].code)
            for kind, names in (("thumbs", ("down", "up")), ("stars", ("1", "2", "3", "4", "5")))
            if kind in by_kind
        ]
        self.commonest = [
            annotator_figures.commonest(judge, code, len(names), size) for _, names, judge, code in self.same
        ]

    def suspicions(self) -> dict[str, np.ndarray]:
        same = [
            careless_annotators.always_the_same(most, len(names))
            for (most, _), (_, names, _, _) in zip(self.commonest, self.same, strict=True)
        ]
        self.same_by_scale = np.array(same)
        gold = self.gold.hits.sum() / max(self.gold.n.sum(), 1)
        blind = Shares(self.gold.hits, self.gold.n, np.full(self.size, min(0.5, gold)))
        return {
            "gold": careless_annotators.too_blind(blind),
            "others": careless_annotators.too_blind(self.others),
            "ratings": careless_annotators.out_of_step(self.in_step, self.in_step_n),
            "itself": careless_annotators.too_blind(self.repeats.same),
            "side": careless_annotators.one_side(self.first),
            "same": np.logaddexp.reduce(self.same_by_scale) - math.log(len(same)),
            "hasty": careless_annotators.too_hasty(self.hasty),
        }

    def of(self, j: int) -> dict[str, Measure]:
        measures = [
            _share("gold", self.gold, j, self._crowd(self.gold, j)),
            _share("others", self.others, j),
            _share("itself", self.repeats.same, j),
            _share("first", self.first, j, 0.5, is_tested=True),
            self._stuck(j),
            self._longer(j),
            _mean("severity", self.severity.raw, j),
            _one("shrunk", self.severity.shrunk[j], self.severity.shrunk_error[j], int(self.severity.raw.n[j])),
            self._in_step(j),
            self._marks(j),
            *self._speed(j),
            _share("hasty", self.hasty, j, careless_annotators.HASTY_SHARE),
            self._same(j),
        ]
        return {measure.name: measure for measure in measures if measure is not None}

    def answer(self, j: int) -> str:
        return self._same_answer(j)[1]

    def _crowd(self, shares: Shares, j: int) -> float | None:
        n = shares.n.sum() - shares.n[j]
        return float((shares.hits.sum() - shares.hits[j]) / n) if n else None

    def _stuck(self, j: int) -> Measure | None:
        """Return, of repeats in which the same side won twice, how often it was the first."""
        first, second = int(self.repeats.first[j]), int(self.repeats.second[j])
        if not first + second:
            return None
        ends = wilson(first, first + second)
        p = annotator_figures.two_sided(first, first + second)
        return Measure("stuck", first / (first + second), *ends, first + second, 0.5, p, hits=first)

    def _longer(self, j: int) -> Measure | None:
        if not self.longer.n[j]:
            return None
        share = _share("longer", self.longer, j)
        assert share is not None
        interval = self.length_excess.interval(j)
        if interval is None:
            return Measure(**{**vars(share), "beside": None})
        others = float(self.longer_by_others.mean[j])
        return Measure(**{**vars(share), "beside": others, "p": _normal_p(self.length_excess, j)})

    def _in_step(self, j: int) -> Measure | None:
        value, n = float(self.in_step[j]), int(self.in_step_n[j])
        if math.isnan(value):
            return None
        if n < 5 or abs(value) > 0.9999:
            return Measure("in_step", value, None, None, n)
        z, reach = math.atanh(value), 1.96 / math.sqrt(n - 3)
        return Measure("in_step", value, math.tanh(z - reach), math.tanh(z + reach), n)

    def _marks(self, j: int) -> Measure | None:
        if j not in self.marked:
            return None
        marks = self.marked[j]
        estimate = figure(_MATCHED, marks.counts)
        return Measure("marks", estimate.value, estimate.lower, estimate.upper, len(marks.counts), marks.others)

    def _speed(self, j: int) -> list[Measure]:
        is_own = self.times.judge == j
        seconds, characters = self.times.seconds[is_own], self.times.characters[is_own]
        measures = []
        if len(seconds):
            measures.append(Measure("seconds", *annotator_figures.median(seconds), len(seconds), self.median))
        if (characters > 0).any():
            per = seconds[characters > 0] / characters[characters > 0] * 100 * annotator_figures.WORD
            measures.append(Measure("pace", *annotator_figures.median(per), len(per)))
        return measures

    def _same(self, j: int) -> Measure | None:
        scale, _ = self._same_answer(j)
        return _share("same", self.commonest[scale][0], j)

    def _same_answer(self, j: int) -> tuple[int, str]:
        """Return the share of the same answer, on the scale where it is the most remarkable."""
        scale = int(self.same_by_scale[:, j].argmax())
        _, names, _, _ = self.same[scale]
        return scale, names[int(self.commonest[scale][1][j])]


def _with_others(by_kind: dict[str, Answers], drew: np.ndarray) -> Shares:
    """Return agreement with others on comparisons and thumbs, where one of two was chosen: how often people call it
    level is their own.

    Where the sides were drawn (`drew`, of annotators), whoever chooses blindly is right about half of them, however
    often one model's answers are the better ones.
    """
    size = len(drew)
    hits, n, by_chance = np.zeros(size), np.zeros(size), np.zeros(size)
    for kind in (columns.COMPARISON, columns.THUMBS):
        if kind not in by_kind:
            continue
        answers = by_kind[kind]
        chose = answers.code < 2
        shares = annotator_figures.with_others(answers.judge[chose], answers.unit[chose], answers.code[chose], 2, size)
        is_half = drew if kind == columns.COMPARISON else np.zeros(size, dtype=bool)
        hits, n = hits + shares.hits, n + shares.n
        by_chance += np.where(is_half, 0.5, np.nan_to_num(shares.expected)) * shares.n
    return Shares(hits, n, np.divide(by_chance, n, out=np.full(size, np.nan), where=n > 0))


def _steps(scale_answers: list[ScaleAnswers]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (judge, unit, step 1 to 5) of stars, or of all aspects where nobody gave stars."""
    stars = [scale.answers for scale in scale_answers if scale.kind == columns.STARS]
    chosen = stars or [scale.answers for scale in scale_answers if scale.kind == columns.ASPECT]
    if not chosen:
        return (np.zeros(0, dtype=np.int64),) * 3
    first = np.cumsum([0, *(s.unit.max() + 1 for s in chosen)])
    unit = np.concatenate([s.unit + start for s, start in zip(chosen, first, strict=False)])
    return np.concatenate([s.judge for s in chosen]), unit, np.concatenate([s.code + 1 for s in chosen])


def _share(
    name: str, shares: Shares, j: int, reference: float | None = None, is_tested: bool = False
) -> Measure | None:
    n = int(shares.n[j])
    if not n:
        return None
    hits = int(shares.hits[j])
    if reference is None and np.isfinite(shares.expected[j]):
        reference = float(shares.expected[j])
    p = annotator_figures.two_sided(hits, n) if is_tested else None
    return Measure(name, hits / n, *shares.interval(j), n, reference, p, hits=hits)


def _mean(name: str, means: Means, j: int) -> Measure | None:
    if not means.n[j]:
        return None
    lower, upper = means.interval(j) or (None, None)
    return Measure(name, float(means.mean[j]), lower, upper, int(means.n[j]), 0.0, _normal_p(means, j))


def _one(name: str, value: float, error: float, n: int) -> Measure | None:
    if not math.isfinite(error):
        return None
    return Measure(name, float(value), float(value - 1.96 * error), float(value + 1.96 * error), n)


def _normal_p(means: Means, j: int) -> float | None:
    error = float(means.error[j])
    if not math.isfinite(error) or error == 0:
        return None
    return math.erfc(abs(float(means.mean[j])) / error / math.sqrt(2))
