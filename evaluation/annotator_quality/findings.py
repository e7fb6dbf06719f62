"""Find what there is to say of a project's annotators: agreement on each scale, each one's figures, who should be
looked at.

Computed from sums over the annotations of one kind of annotator, people or simulations, and kept while the ledger
stands.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from django.utils import timezone

from annotate.models import Project
from evaluation.annotator_quality import columns
from evaluation.annotator_quality.annotator_measures import Measure, Measured
from evaluation.annotator_quality.columns import ScaleAnswers
from evaluation.annotator_quality.loading import Annotator, Rows, key_of, names_of, rows_of, rows_until
from evaluation.core.recent_values import Recent
from evaluation.metrics import agreement, careless_annotators, span_agreement
from evaluation.metrics.agreement import Alpha, Pair
from evaluation.metrics.careless_annotators import Evidence
from evaluation.metrics.paired_tests import holm
from evaluation.metrics.span_agreement import MarkAgreement, MarkPair, SpanAgreement

_recent = Recent(32)
SLOW, KEPT = 1.0, 20  # what took longer than so many seconds is kept for so many times as long as it took
ANY_LABEL = "whatever the label"  # no name of a label: those have no blanks


@dataclass(frozen=True)
class AnnotatorFigures:
    """Hold an annotator's figures. `answer` is the one given most where `same` is measured."""

    judge: Annotator
    name: str
    judgements: dict[str, int]
    measures: dict[str, Measure]
    evidence: Evidence
    answer: str = ""

    @property
    def total(self) -> int:
        """Return the number of annotations; spans are part of another one, but for those who say nothing else."""
        return sum(n for kind, n in self.judgements.items() if kind != "span") or self.judgements.get("span", 0)

    @property
    def is_flagged(self) -> bool:
        return self.evidence.is_flagged


@dataclass(frozen=True)
class ScaleFigures:
    kind: str
    name: str
    alpha: Alpha


@dataclass(frozen=True)
class Findings:
    """Figures of a project's annotators. `scale_answers` has the scales as columns, from which pairs of annotators are
    computed when somebody asks. `seconds` it took to find all this, and when that was."""

    scales: list[ScaleFigures]
    judges: list[AnnotatorFigures]
    scale_answers: list[ScaleAnswers]
    marks: SpanAgreement
    changes: int
    seconds: float
    at: datetime

    @property
    def marked(self) -> list[tuple[str, MarkAgreement]]:
        """Return each label of spans; where there are several, all together, and the places alone."""
        labels = [(agreement_.label, agreement_) for agreement_ in self.marks.labels if agreement_.label != ANY_LABEL]
        apart = [(agreement_.label, agreement_) for agreement_ in self.marks.labels if agreement_.label == ANY_LABEL]
        together = [("all labels", self.marks.together)] if self.marks.together and len(labels) > 1 else []
        return [*labels, *together, *apart]

    @property
    def mark_pairs(self) -> list[MarkPair]:
        return self.marks.pairs

    @cached_property
    def pairs(self) -> list[tuple[str, Pair]]:
        """Return each two annotators on each scale; numbers are indices in `judges`."""
        return [
            (scale.name, pair) for scale in self.scale_answers for pair in agreement.pairs(scale.answers, scale.metric)
        ]

    def of(self, user: int) -> AnnotatorFigures | None:
        return self.of_judge(Annotator(user))

    def of_judge(self, judge: Annotator) -> AnnotatorFigures | None:
        return next((figures for figures in self.judges if figures.judge == judge), None)


def findings(project: Project, kind: str) -> Findings:
    """Return the findings as the ledger stands now; of very many annotations, as it stood some minutes ago, unless a
    status has changed."""
    rows = rows_of(project, kind)
    key = key_of(project, kind)
    findings = _recent.get(key, repr(rows.position)) or _still_good(_recent.last(key), rows)
    if findings is None:
        findings = computed(rows)
        _recent.put(key, repr(rows.position), findings)
    return findings


def _still_good(last: Findings | None, rows: Rows) -> Findings | None:
    if last is None or last.seconds < SLOW or last.changes != rows.position.changes:
        return None
    return last if (timezone.now() - last.at).total_seconds() < KEPT * last.seconds else None


def settled_at(project: Project) -> datetime:
    """Return the last full hour before which nothing can be changed any more.

    Figures of oneself are as of then. Told at once, they would tell which item's answer is known, or which came again:
    those that move only some of the figures; and whoever has it wrong could take it back.
    """
    changeable = timezone.now() - timedelta(minutes=project.edit_minutes)
    return changeable.replace(minute=0, second=0, microsecond=0)


def own_findings(project: Project, kind: str) -> Findings:
    """Return the findings that annotators may see of themselves: of what was settled, see `settled_at`, and counts
    still."""
    moment, position = settled_at(project), rows_of(project, kind).position
    key, state = (*key_of(project, kind), "own"), f"{moment.isoformat()} {position.changes}"
    findings = _recent.get(key, state)
    if findings is None:
        findings = computed(rows_until(project, kind, moment))
        _recent.put(key, state, findings)
    return findings


def computed(rows: Rows) -> Findings:
    started = time.monotonic()
    judges = rows.judges
    index_of, names = columns.numbered(judges), names_of(judges)
    scale_answers = columns.scales(rows, index_of)
    scales = [
        ScaleFigures(scale.kind, scale.name, agreement.alpha(scale.answers, scale.metric)) for scale in scale_answers
    ]
    marked = _marks(rows, index_of)
    measured = Measured(rows, index_of, scale_answers, marked)
    evidence = careless_annotators.weigh(measured.suspicions(), len(judges))
    counts = _annotation_counts(rows, index_of)
    every = _with_holm([measured.of(number) for number in range(len(judges))])
    annotator_figures = [
        AnnotatorFigures(judge, names[judge], counts[number], every[number], evidence[number], measured.answer(number))
        for judge, number in index_of.items()
    ]
    return Findings(
        scales,
        annotator_figures,
        scale_answers,
        marked,
        rows.position.changes,
        time.monotonic() - started,
        timezone.now(),
    )


def _marks(rows: Rows, index_of: dict[Annotator, int]) -> SpanAgreement:
    by_label = columns.readings(rows, index_of)
    if len(by_label) > 1:
        return span_agreement.agreement(by_label | {ANY_LABEL: columns.merged_readings(by_label)}, apart=ANY_LABEL)
    return span_agreement.agreement(by_label)


def _annotation_counts(rows: Rows, index_of: dict[Annotator, int]) -> list[dict[str, int]]:
    counts = [{"comparison": 0, "rating": 0, "ranking": 0, "span": 0} for _ in index_of]
    for kind, table in zip(counts[0] if counts else (), rows.tables, strict=False):
        for item in table:
            counts[index_of[item.row.judge]][kind] += 1
    return counts


def _with_holm(every: list[dict[str, Measure]]) -> list[dict[str, Measure]]:
    """Correct each test over all annotators: so many annotators, so many chances of a small p."""
    for name in ("first", "stuck", "longer", "severity"):
        tested = [
            (j, measures[name]) for j, measures in enumerate(every) if name in measures and measures[name].p is not None
        ]
        for (j, measure), p in zip(tested, holm([m.p for _, m in tested if m.p is not None]), strict=True):
            every[j][name] = Measure(**{**vars(measure), "p_among": p})
    return every
