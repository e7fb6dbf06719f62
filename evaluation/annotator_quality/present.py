"""Present the findings for pages and the API: rows that can be sorted, cells with their interval, flat files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.labelling.bulk_status import KINDS, ImportedAnnotator, Who
from annotate.models import AnnotatorKind, Project
from annotate.models.feedback import annotator_kind_of
from evaluation.annotator_quality import explanations
from evaluation.annotator_quality.annotator_measures import Measure
from evaluation.annotator_quality.findings import AnnotatorFigures, Findings, ScaleFigures, findings, own_findings
from evaluation.annotator_quality.loading import Annotator as Named
from evaluation.metrics.agreement import Pair
from evaluation.metrics.span_agreement import Estimate, MarkAgreement, MarkPair

# As columns of the table: name, heading, scale and digits of its numbers.
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("gold", "gold items", "percent"),
    ("others", "agrees", "percent"),
    ("itself", "same again", "percent"),
    ("first", "first answer", "percent"),
    ("longer", "longer answer", "percent"),
    ("severity", "severity", "signed"),
    ("marks", "marks", "percent"),
    ("seconds", "seconds", "number"),
    ("hasty", "too fast", "percent"),
)
MOST_IN_MATRIX = 24
MARKS = "marked spans"  # in the matrix; no scale has a name with a blank


@dataclass(frozen=True)
class Cell:
    """A figure and its interval in words; `is_far` when the interval does not hold what it is set beside."""

    text: str
    ends: str
    n: int
    is_far: bool


@dataclass(frozen=True)
class Row:
    figures: AnnotatorFigures
    cells: list[Cell | None]
    reasons: list[str]


@dataclass(frozen=True)
class Heading:
    """Describe a column's heading. `link` is the query that sorts by it; the other way round when it is sorted by it
    already."""

    name: str
    title: str
    link: str
    sorted: str = ""


def cell(measure: Measure | None, form: str) -> Cell | None:
    if measure is None:
        return None
    if form == "percent":
        text, ends = explanations.percent(measure.value), explanations.ends(measure, 100, 0)
    elif form == "signed":
        text, ends = f"{measure.value:+.2f}".replace("-", "−"), explanations.ends(measure)
    else:
        text, ends = f"{measure.value:.1f}", explanations.ends(measure, 1, 1)
    return Cell(text, ends, measure.n, is_far(measure))


def is_far(measure: Measure) -> bool:
    """Return whether the interval leaves out what it is compared with: only what is tested against an even share or
    nothing can be too far from it."""
    return measure.p_among is not None and measure.p_among < 0.05


def rows(findings_: Findings, order: str, is_reversed: bool) -> list[Row]:
    """Return the rows, flagged ones first, or by a column; whoever has no such figure comes last."""
    judges = sorted(findings_.judges, key=lambda one: one.name.casefold())
    key = _key(order)
    measured = [judge for judge in judges if key(judge) is not None]
    measured.sort(key=lambda judge: key(judge) or 0, reverse=is_reversed)
    ordered = measured + [judge for judge in judges if key(judge) is None]
    if order == "name":
        ordered = judges[::-1] if is_reversed else judges
    return [
        Row(
            judge,
            [cell(judge.measures.get(name), form) for name, _, form in columns_of(findings_)],
            explanations.reasons(judge),
        )
        for judge in ordered
    ]


def columns_of(findings_: Findings) -> list[tuple[str, str, str]]:
    """Return the columns without those that nobody has a figure of because nothing is marked here."""
    return [column for column in COLUMNS if column[0] != "marks" or findings_.mark_pairs]


def _key(order: str) -> Callable[[AnnotatorFigures], float | None]:
    if order == "judgements":
        return lambda judge: judge.total
    if order in {name for name, _, _ in COLUMNS}:
        return lambda judge: judge.measures[order].value if order in judge.measures else None
    return lambda judge: -judge.evidence.log_e


def headings(findings_: Findings, order: str, is_reversed: bool, kind: str) -> list[Heading]:
    named = [("name", "annotator"), ("judgements", "annotations")]
    named += [(name, title) for name, title, _ in columns_of(findings_)]
    return [
        Heading(
            name,
            title,
            f"?judge={kind}&sort={'' if order == name and is_reversed else '-' if order == name else ''}{name}",
            ("descending" if is_reversed else "ascending") if order == name else "",
        )
        for name, title in named
    ]


@dataclass(frozen=True)
class Matrix:
    """Judges by annotators on one scale; cells are None where two have nothing in common."""

    scale: str
    names: list[str]
    rows: list[tuple[str, list[Pair | MarkPair | None]]]
    is_whole: bool


def matrix(findings_: Findings, scale: str) -> Matrix | None:
    """Return the matrix of those who annotated most on the scale, or marked most."""
    pairs: Sequence[Pair | MarkPair] = findings_.mark_pairs
    if scale == MARKS:
        counts: dict[int, int] = {}
        for pair in pairs:
            for judge in (pair.first, pair.second):
                counts[judge] = counts.get(judge, 0) + pair.n
    else:
        common = findings_.pair_columns[scale].units_in_common()
        counts = {int(judge): int(common[judge]) for judge in common.nonzero()[0]}
    if not counts:
        return None
    chosen = sorted(sorted(counts, key=lambda judge: -counts[judge])[:MOST_IN_MATRIX])
    if scale != MARKS:
        pairs = findings_.pair_columns[scale].among(chosen)
    by_two = {(pair.first, pair.second): pair for pair in pairs}
    names = [findings_.judges[judge].name for judge in chosen]
    table = [(findings_.judges[a].name, [by_two.get((min(a, b), max(a, b))) for b in chosen]) for a in chosen]
    return Matrix(scale, names, table, len(chosen) == len(counts))


JUDGE_COLUMNS: Sequence[str] = (
    *("judge", "source", "comparisons", "ratings", "rankings", "spans", "flagged", "reasons", "log_e"),
    *(
        f"{name}_{part}"
        for name in explanations.TITLES
        for part in ("value", "lower", "upper", "n", "beside", "p", "p_among")
    ),
)
PAIR_COLUMNS: Sequence[str] = (
    *("scale", "judge", "other", "n", "agreed", "share", "lower", "upper"),
    *("kappa", "kappa_lower", "kappa_upper"),
)


def flat_annotator(figures: AnnotatorFigures) -> dict[str, Any]:
    row: dict[str, Any] = {
        "judge": figures.name,
        "source": figures.judge.source,
        "comparisons": figures.judgements["comparison"],
        "ratings": figures.judgements["rating"],
        "rankings": figures.judgements["ranking"],
        "spans": figures.judgements["span"],
        "flagged": figures.is_flagged,
        "reasons": "; ".join(explanations.reasons(figures)),
        "log_e": round(figures.evidence.log_e, 3),
    }
    for name in explanations.TITLES:
        measure = figures.measures.get(name)
        for part in ("value", "lower", "upper", "n", "beside", "p", "p_among"):
            row[f"{name}_{part}"] = None if measure is None else _short(getattr(measure, part))
    return row


def flat_pair(findings_: Findings, scale: str, pair: Pair) -> dict[str, Any]:
    return {
        "scale": scale,
        "judge": findings_.judges[pair.first].name,
        "other": findings_.judges[pair.second].name,
        "n": pair.n,
        "agreed": pair.agreed,
        **{name: _short(getattr(pair, name)) for name in PAIR_COLUMNS[5:]},
    }


def flat_scale(scale: ScaleFigures) -> dict[str, Any]:
    alpha = scale.alpha
    return {
        "scale": scale.name,
        "kind": scale.kind,
        "metric": alpha.metric,
        "alpha": _short(alpha.value),
        "lower": _short(alpha.lower),
        "upper": _short(alpha.upper),
        "units": alpha.units,
        "judgements": alpha.judgements,
        "judges": alpha.judges,
        "raw": _short(alpha.raw),
        "in_words": explanations.of_alpha(alpha),
    }


def flat_marks(label: str, agreement_: MarkAgreement) -> dict[str, Any]:
    row: dict[str, Any] = {"label": label}
    for name in ("alpha", "exact", "overlapping"):
        estimate: Estimate = getattr(agreement_, name)
        row |= {
            name: _short(estimate.value),
            f"{name}_lower": _short(estimate.lower),
            f"{name}_upper": _short(estimate.upper),
        }
    return row | {
        "answers": agreement_.texts,
        "answers_marked": agreement_.marked,
        "spans": agreement_.spans,
        "judges": agreement_.judges,
        "in_words": explanations.of_marks(agreement_),
    }


def flat_mark_pair(findings_: Findings, pair: MarkPair) -> dict[str, Any]:
    return {
        "judge": findings_.judges[pair.first].name,
        "other": findings_.judges[pair.second].name,
        "n": pair.n,
        "spans": pair.spans_first,
        "spans_of_other": pair.spans_second,
        "exact": _short(pair.exact),
        "overlapping": _short(pair.overlapping),
    }


def _short(value: float | None) -> float | None:
    return round(value, 5) if isinstance(value, float) else value


def requested_kind(project: Project, kind: str) -> str:
    """Return the kind: people, as soon as one of them has annotated here; raises ValueError for an unknown kind."""
    if kind and kind not in AnnotatorKind.values:
        raise ValueError(f"{kind!r} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}.")
    return kind or default_kind(project)


def default_kind(project: Project) -> str:
    def anything(kind: str) -> bool:
        tables = (project.comparisons, project.ratings, project.rankings, project.spans)  # type: ignore[attr-defined]
        return any(rows.filter(judge=kind).exists() for rows in tables)

    return (
        AnnotatorKind.SIMULATION
        if not anything(AnnotatorKind.PERSON) and anything(AnnotatorKind.SIMULATION)
        else AnnotatorKind.PERSON
    )


def figures_of(
    project: Project, annotator: Who, *, is_own: bool = False
) -> tuple[str, Findings, AnnotatorFigures | None]:
    """Return which kind of annotator they are, the findings of that kind, and their figures in it. `is_own`: for their
    own eyes."""
    if not isinstance(annotator, ImportedAnnotator):
        kind_ = annotator_kind_of(annotator)
        findings_ = (own_findings if is_own else findings)(project, kind_)
        return kind_, findings_, findings_.of(annotator.pk)
    named = Named(None, annotator.source, annotator.name)
    for kind in AnnotatorKind.values:
        findings_ = findings(project, kind)
        if figures := findings_.of_judge(named):
            return kind, findings_, figures
    return AnnotatorKind.PERSON, findings(project, AnnotatorKind.PERSON), None


def annotator_ids(project: Project) -> set[int]:
    ids = set(project.memberships.values_list("user_id", flat=True))  # type: ignore[attr-defined]
    for table in KINDS.values():
        rows = table.objects.filter(project=project).exclude(author=None)
        ids.update(rows.order_by().values_list("author_id", flat=True).distinct())
    return ids
