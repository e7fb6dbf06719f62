"""Collect what a run page shows, once for the page and for its live updates: both render the same parts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from annotate.models import Dataset, LanguageModel
from training import configs
from training.core.endings import log_tail
from training.core.kinds import KINDS
from training.core.run_directory import RunDirectory
from training.models import Metric, Run
from training.runs.figures import charts, curves, fidelity, health, progress
from training.runs.ordering import pauses
from training.runs.present import failure_remedies as failures
from training.runs.present import kind_sections
from training.runs.present.run_samples import sampled_answers, then_and_now

# Parts of templates/training/runs/run.html that change while a run is under way, each an element with an id of its own.
PARTS = ("status", "facts", "result", "main-table", "more-table", "kind", "samples", "log")
TABLES = ("main-table", "more-table")
RELATED = (
    *("project", "parent__made_by", "reward_model__made_by__dataset", "dataset", "other_dataset", "cloned_from"),
    *("output_model", "output_dataset", "created_by"),
)
Row = tuple[int, int, int, dict[str, Any]]  # sequence, id, step, values
_POINTS = 2000  # more than a screen has pixels
_FIGURES = 12
_SAID_ELSEWHERE = ("stopped", "how_to_read", "verdict", "why", "parent", "final", "counts", "report", "fidelity")


@dataclass(frozen=True)
class Option:
    name: str
    value: Any
    help: str
    is_default: bool


@dataclass
class Figures:
    """Hold what a page knows of the metrics: their names, the first and the last, and the rows that it was given with
    them.

    Read once for a page; a live one then adds what is new, and never reads again what it has shown.
    """

    rows: list[Row]
    names: set[str]
    first: Row | None
    last: Row | None

    @classmethod
    def read(cls, run: Run, until: int | None = None) -> Figures:
        """Return all rows, or those until this sequence number."""
        metrics = run.metrics.all() if until is None else run.metrics.filter(sequence__lte=until)
        rows = list(metrics.order_by("sequence").values_list("sequence", "pk", "step", "values"))
        names = curves.names_in(row[-1] for row in rows)
        return cls(rows, names, rows[0] if rows else None, rows[-1] if rows else None)

    def add(self, rows: list[Row]) -> Figures:
        """Return the figures with these rows, which came after the others."""
        if not rows:
            return Figures([], self.names, self.first, self.last)
        return Figures(rows, self.names | curves.names_in(row[-1] for row in rows), self.first or rows[0], rows[-1])

    @property
    def ends(self) -> list[tuple[int, dict[str, Any]]]:
        """Return (step, values) of the first row and of the last."""
        ends = [row[2:] for row in (self.first, self.last) if row is not None]
        return ends[:1] if self.first == self.last else ends

    def drawn(self, config: dict[str, Any]) -> list[curves.Curve]:
        return curves.curves_of(self.names, config, self.first[2:] if self.first else None)

    def table(self, chosen: list[curves.Curve]) -> list[tuple[int, list[str]]]:
        """Return the rows that have any of these figures."""
        names = {curve.name for curve in chosen}
        return curves.table([row[2:] for row in self.rows if names & row[-1].keys()], chosen)


def context(run: Run, figures: Figures | None = None) -> dict[str, Any]:
    """Return everything but what depends on who looks."""
    now = timezone.now()
    attempts = list(run.attempts.all())
    figures = figures or Figures.read(run)
    config = pauses.config_now(run)
    drawn_curves = figures.drawn(config)
    main, more = [c for c in drawn_curves if c.is_main], [c for c in drawn_curves if not c.is_main]
    stop = run.result.get("stopped") if run.is_finished else None
    left = {name: value for name, value in run.result.items() if name not in _SAID_ELSEWHERE}
    section = kind_sections.of_run(run)
    all_figures = [] if section.get("own_figures") else progress.figures(left)
    return {
        **section,
        "run": run,
        "kind": KINDS.get(run.kind),
        "state": run.state,
        "progress": progress.progress(run, attempts, figures.last[-1] if figures.last else {}, now),
        "stopped": stop,
        "warnings": health.warnings(figures.ends, config) if run.kind == "ppo" and not stop else [],
        "attempts": attempts,
        "cost": progress.cost(attempts, now),
        "before_after": before_after(run.result),
        "fidelity": fidelity.lines(run.result),
        "fidelity_sentence": fidelity.sentence(run.result),
        "figures": all_figures[:_FIGURES],
        "more_figures": all_figures[_FIGURES:],
        "main": main,
        "more": more,
        "main_rows": figures.table(main),
        "more_rows": figures.table(more),
        "is_thinned": len(figures.rows) > 120,
        "kept_step": RunDirectory(run.path).kept_step() if run.state == Run.State.FAILED else None,
        "remedies": failures.remedies_of(run),
        "pairs": then_and_now(run),
        "log": log_tail(run.path / "log.txt"),
        "votes": votes_behind(run),
        "agreement": agreement(run.reward_model),
        "curve_data": {"points": points(figures.rows), "curves": as_json(drawn_curves)},
        "dataset_counts": _counts(run.dataset),
        "answers": sampled_answers(run) if run.state == Run.State.SUCCEEDED else [],
        "completions": run.completions.count() if run.state == Run.State.SUCCEEDED else 0,
    }


def address(run: Run) -> str:
    return reverse("run", args=[run.pk])


def fingerprint(run: Run) -> tuple[Any, ...]:
    """Return a value that is cheap to get, and different whenever the page would be: the log and the clock are looked
    at every 5 s."""
    log = run.path / "log.txt"
    last = run.metrics.order_by("-sequence").values_list("sequence", "pk").first()
    sample = run.samples.order_by("-sequence").values_list("pk", flat=True).first()
    attempt = run.attempts.order_by("-number").values_list("pk", "state", "memory_bytes").first()
    size = log.stat().st_size if log.exists() else 0
    clock = int(timezone.now().timestamp()) // 5
    return (run.state, run.step, run.phase, run.ends_at, run.cancel_requested_at, last, sample, attempt, size, clock)


@dataclass(frozen=True)
class Rendered:
    parts: dict[str, str]
    new_rows: str  # the new lines of the tables, which htmx appends
    curves: list[dict[str, Any]]


def render_parts(run: Run, figures: Figures, *, may_change: bool, may_review: bool, whole_tables: bool) -> Rendered:
    """Return each part of the page as HTML that htmx swaps into the open page, and the curves that there are by now.

    `whole_tables` replaces the tables; else the rows of `figures` are appended to them.
    """
    shown = context(run, figures) | {"live": True, "may_change": may_change, "may_review": may_review}
    wanted_parts = [part for part in PARTS if whole_tables or part not in TABLES]
    if not may_change:  # the log does not change for whoever may not read it
        wanted_parts.remove("log")
    parts: dict[str, str] = {part: render_to_string(f"training/runs/run.html#{part}", shown) for part in wanted_parts}
    appended = "" if whole_tables or not figures.rows else render_to_string("training/runs/run.html#new-rows", shown)
    return Rendered(parts, appended, shown["curve_data"]["curves"])


def as_json(drawn_curves: list[curves.Curve]) -> list[dict[str, Any]]:
    """Return what static/training/runs/run.js draws."""
    return [
        {
            "name": c.name,
            "title": c.title,
            "main": c.is_main,
            "unit": c.unit,
            "dots": c.is_dots,
            "lines": [{"value": line.value, "label": line.label} for line in c.lines],
        }
        for c in drawn_curves
    ]


def points(metrics: list[Row]) -> list[list[Any]]:
    """Return [sequence, id, step, values]: the id tells a row from the one that a resumed recipe wrote in its place."""
    return [list(row) for row in curves.thinned(metrics, _POINTS)]


def pictures(run: Run, chosen: list[curves.Curve], rows: list[Any]) -> list[tuple[str, str]]:
    """Return (title, SVG) of each curve, for whoever has no JavaScript."""
    titled_pictures = []
    for curve in chosen:
        coordinates = tuple((float(row[2]), float(y)) for row in rows if curves.is_number(y := row[3].get(curve.name)))
        line = charts.Series(run.name, coordinates)
        titled_pictures.append((curve.title, charts.picture([line], title=curve.title, x_title="Step", height=220)))
    return titled_pictures


def new_rows(run_id: int, sequence: int, row_id: int) -> tuple[list[Row], bool]:
    """Return what came after a row that the page has; nothing, and True, when that row has been taken back."""
    rows = Metric.objects.filter(run=run_id).order_by("sequence").values_list("sequence", "pk", "step", "values")
    if sequence and not rows.filter(sequence=sequence, pk=row_id).exists():
        return [], True
    return list(rows.filter(sequence__gt=sequence)), False


def _counts(dataset: Dataset | None) -> list[tuple[str, Any]]:
    """Return what the dataset holds, as it says itself; what was left out and why is on its own page."""
    counts = dataset.counts if dataset else {}
    return [(name.replace("_", " "), count) for name, count in counts.items() if curves.is_number(count)]


def options(run: Run) -> list[Option]:
    """Return the config with the help of its fields; those that differ from the default stand out."""
    fields_by_name = {f.name: f for f in fields(configs.CONFIGS[run.kind])} if run.kind in configs.CONFIGS else {}
    return [
        Option(
            name,
            value,
            fields_by_name[name].metadata.get("help", "") if name in fields_by_name else "",
            name in fields_by_name and fields_by_name[name].default == value,
        )
        for name, value in configs.current_names(run.kind, run.config).items()
    ]


def before_after(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (what, of the parent, of the model made) for each figure of a result's `parent` and `final`."""
    parent, final = result.get("parent"), result.get("final")
    if not isinstance(parent, dict) or not isinstance(final, dict):
        return []
    names = [*(name for name in parent if name in final), *(name for name in final if name not in parent)]
    return [
        (curves.title_of(name), curves.number(parent.get(name)), curves.number(final.get(name)))
        for name in names
        if curves.is_number(final.get(name)) and curves.is_figure(name)
    ]


def votes_behind(run: Run) -> list[tuple[Dataset, str]]:
    """Return the datasets of annotations that this run learns from, its own or its reward model's, and how many they
    hold."""
    made_by = getattr(run.reward_model, "made_by", None) if run.reward_model else None
    candidates = [run.dataset, made_by.dataset if made_by else None]
    return [(d, _votes(d)) for d in candidates if d is not None and d.judge]  # what was uploaded nobody judged here


def _votes(dataset: Dataset) -> str:
    """Say what a dataset holds: `312 pairs, 540 ratings by 9 people`"""
    counts = dataset.counts
    named = (("comparisons", "pairs"), ("ratings", "ratings"), ("examples", "examples"))
    counts_text = [f"{counts[name]:,} {word}" for name, word in named if counts.get(name)]
    judges = counts.get("judges")
    people = "simulated annotators" if dataset.judge == "simulation" else "people"
    return ", ".join(counts_text or [dataset.name]) + (
        f" by {judges} {people}" if curves.is_number(judges) else f" by {people}"
    )


def agreement(reward_model: LanguageModel | None) -> str:
    """Return how often the reward model agrees with people on pairs it has not seen, as its own card says; else
    empty."""
    metrics = (reward_model.card or {}).get("metrics") or {} if reward_model else {}
    accuracy = (metrics.get("held_out") or {}).get("pair_accuracy")
    if not isinstance(accuracy, dict) or not curves.is_number(accuracy.get("value")):
        return ""
    lower, upper = accuracy.get("lower"), accuracy.get("upper")
    if curves.is_number(lower) and curves.is_number(upper):
        return f"{accuracy['value']:.0%} [{100 * lower:.0f}, {100 * upper:.0f}]"
    return f"{accuracy['value']:.0%}"
