"""Collect what a tab of a run's page shows, once for the page and for its live updates: both render the same parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from training.core.endings import log_tail
from training.core.kinds import KINDS
from training.models import Run
from training.runs.figures import progress
from training.runs.ordering import priorities
from training.runs.present import kind_sections, run_samples
from training.runs.present.run_page import cluster_place, live_log, run_charts, run_overview, run_tabs
from training.runs.present.run_page.run_charts import Figures
from training.runs.present.run_page.run_tabs import View

_RUN, _TABS = "training/runs/run.html", "training/runs/tabs"
# Parts of the templates that change while a run is under way, each an element with an id of its own.
PARTS = {
    "overview": ("verdict", "facts", "result", "kind"),
    "charts": ("main-table", "more-table", "kind"),
    "samples": ("samples", "kind"),
    "review": ("kind",),
    "config": (),
    "log": ("log",),
}
TABLES = ("main-table", "more-table")
RELATED = (
    *("project", "parent__made_by", "parent__kept_checkpoint__run", "reward_model__made_by__dataset"),
    *("dataset", "other_dataset", "cloned_from"),
    *("output_model", "output_dataset", "created_by"),
)
_LOG_LINES, _LOG_BYTES = 200, 32_000


@dataclass(frozen=True)
class Reader:
    """What the person before the page may do in the run's project."""

    may_change: bool
    may_review: bool
    may_manage: bool = False


def context(run: Run, view: View, figures: Figures | None = None) -> dict[str, Any]:
    """Return everything but what depends on who looks."""
    now = timezone.now()
    attempts = list(run.attempts.all())
    figures = figures or (Figures.read(run) if view.is_drawn else Figures.ends(run))
    section = kind_sections.of_run(run, view.tab)
    return {
        **section,
        "run": run,
        "view": view,
        "kind": KINDS.get(run.kind),
        "state": run.state,
        "priorities": priorities.choices(run),
        "progress": progress.progress(run, attempts, figures.last[-1] if figures.last else {}, now),
        "attempts": attempts,
        "cluster": cluster_place.place_of(attempts),
        **(run_charts.context(run, view, figures) if view.is_drawn else {}),
        **(run_overview.context(run, figures, attempts, section) if view.tab == run_tabs.OVERVIEW else {}),
        **_of_tab(run, view),
    }


def _of_tab(run: Run, view: View) -> dict[str, Any]:
    if view.tab == run_tabs.SAMPLES:
        return run_samples.context(run, view.step)
    if view.tab == run_tabs.LOG:
        log, size = live_log.end_of_log(run, _LOG_BYTES)
        return {"log": log_tail(log, _LOG_LINES), "log_bytes": size}
    return {}


def fingerprint(run: Run) -> tuple[Any, ...]:
    """Return a value that is cheap to get, and different whenever the page would be: the log and the clock are looked
    at every 5 s."""
    log = run.path / "log.txt"
    last = run.metrics.order_by("-sequence").values_list("sequence", "pk").first()
    sample = run.samples.order_by("-sequence").values_list("pk", flat=True).first()
    attempt = run.attempts.order_by("-number").values_list("pk", "state", "memory_bytes", "node").first()
    size = log.stat().st_size if log.exists() else 0
    clock = int(timezone.now().timestamp()) // 5
    return (
        run.state,
        run.priority,
        run.step,
        run.phase,
        run.ends_at,
        run.cancel_requested_at,
        last,
        sample,
        attempt,
        size,
        clock,
    )


@dataclass(frozen=True)
class Rendered:
    parts: dict[str, str]
    new_rows: str  # the new lines of the tables, which htmx appends
    curves: list[dict[str, Any]]


def render_parts(run: Run, view: View, figures: Figures, reader: Reader, *, whole_tables: bool) -> Rendered:
    """Return each part of the tab as HTML that htmx swaps into the open page, and the curves that there are by now.

    `whole_tables` replaces the tables; else the rows of `figures` are appended to them.
    """
    shown = context(run, view, figures) | {
        "live": True,
        "may_change": reader.may_change,
        "may_review": reader.may_review,
        "may_manage": reader.may_manage,
    }
    parts: dict[str, str] = {"status": render_to_string(f"{_RUN}#status", shown)}
    for part in PARTS[view.tab]:
        # The log does not change for whoever may not read it.
        if (whole_tables or part not in TABLES) and (part != "log" or reader.may_change):
            parts[part] = render_to_string(f"{_TABS}/{view.tab}.html#{part}", shown)
    has_rows = view.tab == run_tabs.CHARTS and figures.rows and not whole_tables
    appended = render_to_string(f"{_TABS}/charts.html#new-rows", shown) if has_rows else ""
    return Rendered(parts, appended, shown["curve_data"]["curves"] if view.is_drawn else [])
