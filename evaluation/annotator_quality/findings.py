"""Find what there is to say of a project's annotators: agreement on each scale, each one's figures, who should be
looked at.

Computed from sums over the annotations of one kind of annotator, people or simulations. Of few they are computed when
somebody looks; of many by the background worker, which keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Max
from django.utils import timezone

from annotate.models import Comparison, Project, Ranking, Rating, Span, StatusChange
from evaluation.annotator_quality import columns
from evaluation.annotator_quality.annotator_measures import Measure, Measured
from evaluation.annotator_quality.loading import Annotator, Rows, key_of, names_of, rows_of, rows_until
from evaluation.core import kept_figures
from evaluation.core.kept_figures import Tell
from evaluation.core.recent_values import Recent
from evaluation.metrics import agreement, careless_annotators, span_agreement
from evaluation.metrics.agreement import Alpha, Pair, PairColumns
from evaluation.metrics.careless_annotators import Evidence
from evaluation.metrics.paired_tests import holm
from evaluation.metrics.span_agreement import Estimate, MarkAgreement, MarkPair, SpanAgreement
from evaluation.models import KeptFigures

_recent = Recent(32)
FEW = 3_000  # annotations of a project whose figures are computed within a request: a fifth of a second
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
    """Figures of a project's annotators, and of each two of them by the name of a scale; numbers are indices in
    `judges`. `until`: only what was said before then is in them. `is_kept`: the background worker computed them."""

    scales: list[ScaleFigures]
    judges: list[AnnotatorFigures]
    pair_columns: dict[str, PairColumns]
    marks: SpanAgreement
    at: datetime
    until: datetime | None = None
    is_kept: bool = False

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

    @property
    def pairs(self) -> list[tuple[str, Pair]]:
        """Return each two annotators on each scale."""
        return [(name, pair) for name, columns_ in self.pair_columns.items() for pair in columns_.pairs()]

    def of(self, user: int) -> AnnotatorFigures | None:
        return self.of_judge(Annotator(user))

    def of_judge(self, judge: Annotator) -> AnnotatorFigures | None:
        return next((figures for figures in self.judges if figures.judge == judge), None)


_STORED = (
    *(Findings, AnnotatorFigures, ScaleFigures, Annotator, Measure, Evidence, Alpha, PairColumns),
    *(SpanAgreement, MarkAgreement, MarkPair, Estimate),
)


def findings(project: Project, kind: str) -> Findings:
    """Return the findings: of few annotations as the ledger stands now, of many as it stood when the background worker
    computed them last. Raises BeingComputed where it has not done so yet."""
    if is_large(project):
        return _kept(project, kind, KeptFigures.What.QUALITY, *_newest(project))
    rows = rows_of(project, kind)
    key = key_of(project, kind)
    findings = _recent.get(key, repr(rows.position))
    if findings is None:
        findings = computed(rows)
        _recent.put(key, repr(rows.position), findings)
    return _named(findings)


def is_large(project: Project) -> bool:
    tables = (Comparison, Rating, Ranking, Span)
    return sum(table.objects.filter(project=project).order_by()[: FEW + 1].count() for table in tables) > FEW


def _newest(project: Project) -> tuple[str, str]:
    """Return the state of the ledger in a few look-ups, and the part of it that only a change of a status changes."""
    changes = StatusChange.objects.aggregate(last=Max("id"))["last"] or 0
    standing, newest = f"{changes} ", []
    for table in (Comparison, Rating, Ranking, Span):
        newest.append(table.objects.filter(project=project).aggregate(last=Max("id"))["last"] or 0)
    return standing + "-".join(map(str, newest)), standing


def _kept(project: Project, kind: str, what: str, state: str, standing: str) -> Findings:
    def is_good(row: KeptFigures) -> bool:
        return kept_figures.grows(row, state, standing)

    return _named(kept_figures.kept(project, kind, what, is_good, _STORED))


def _named(found: Findings) -> Findings:
    """Return them with the names that accounts have now: what is kept may name somebody who was erased since."""
    names = names_of(figures.judge for figures in found.judges)
    return replace(found, judges=[replace(figures, name=names[figures.judge]) for figures in found.judges])


def compute_kept(project: Project, kind: str, tell: Tell) -> tuple[str, Findings]:
    """Return the findings of many annotations for the background worker, and the state of the ledger before."""
    state, _ = _newest(project)
    tell("reading annotations", 0.0)
    return state, _as_kept(computed(rows_of(project, kind, tell), tell))


def compute_kept_own(project: Project, kind: str, tell: Tell) -> tuple[str, Findings]:
    """Do as `compute_kept` with what was settled, for annotators' own eyes."""
    (state, _), moment = _settled(project), settled_at(project)
    tell("reading annotations", 0.0)
    rows = rows_until(project, kind, moment, tell)
    return state, replace(_as_kept(computed(rows, tell)), until=moment)


def _settled(project: Project) -> tuple[str, str]:
    changes = StatusChange.objects.aggregate(last=Max("id"))["last"] or 0
    return f"{changes} {settled_at(project).isoformat()}", f"{changes} "


def _as_kept(found: Findings) -> Findings:
    """Return them without what is not read again, nor accounts' names: these may change, or have to be forgotten.
    Annotators of an import keep theirs in `judge`, as nothing else tells them apart."""
    judges = [replace(figures, name="") for figures in found.judges]
    return replace(found, judges=judges, marks=replace(found.marks, others={}), is_kept=True)


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
    if is_large(project):
        return _kept(project, kind, KeptFigures.What.OWN_QUALITY, *_settled(project))
    moment, position = settled_at(project), rows_of(project, kind).position
    key, state = (*key_of(project, kind), "own"), f"{moment.isoformat()} {position.changes}"
    findings = _recent.get(key, state)
    if findings is None:
        findings = replace(computed(rows_until(project, kind, moment)), until=moment)
        _recent.put(key, state, findings)
    return _named(findings)


def computed(rows: Rows, tell: Tell = lambda stage, share: None) -> Findings:
    at = timezone.now()
    judges = rows.judges
    index_of, names = columns.numbered(judges), names_of(judges)
    tell("computing agreement", 0.4)
    scale_answers = columns.scales(rows, index_of)
    scales = [
        ScaleFigures(scale.kind, scale.name, agreement.alpha(scale.answers, scale.metric)) for scale in scale_answers
    ]
    marked = _marks(rows, index_of)
    tell("comparing annotators", 0.6)
    measured = Measured(rows, index_of, scale_answers, marked)
    evidence = careless_annotators.weigh(measured.suspicions(), len(judges))
    counts = _annotation_counts(rows, index_of)
    every = _with_holm([measured.of(number) for number in range(len(judges))])
    annotator_figures = [
        AnnotatorFigures(judge, names[judge], counts[number], every[number], evidence[number], measured.answer(number))
        for judge, number in index_of.items()
    ]
    tell("comparing pairs of annotators", 0.7)
    pair_columns = {scale.name: agreement.pair_columns(scale.answers, scale.metric) for scale in scale_answers}
    return Findings(scales, annotator_figures, pair_columns, marked, at)


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
