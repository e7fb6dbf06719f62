"""The tabs of a run's page: which there are, which one an address asks for, and what it asks of it.

Each tab is an address of its own, `/runs/7/?tab=charts`, so that it works without a script and costs only its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.urls import reverse

from common.whole_numbers import whole_number
from training.runs.figures import charts
from training.runs.present import kind_sections

if TYPE_CHECKING:
    from training.models import Run

OVERVIEW, CHARTS, SAMPLES, REVIEW, CONFIG, LOG = "overview", "charts", "samples", "review", "config", "log"
TITLES = {
    OVERVIEW: "Overview",
    CHARTS: "Charts",
    SAMPLES: "Samples",
    REVIEW: "Human review",
    CONFIG: "Config",
    LOG: "Log",
}
DRAWN = (OVERVIEW, CHARTS)  # tabs with curves


@dataclass(frozen=True)
class View:
    """What an address of a run's page asks for; what it asks wrongly is as if it were not there."""

    tab: str = OVERVIEW
    step: int | None = None  # of the samples beside the parent's; None: the latest
    smooth: int = 0
    is_log: bool = False

    @classmethod
    def of(cls, run: Run, query: Mapping[str, Any]) -> View:
        tab = query.get("tab") or OVERVIEW
        step = whole_number(query.get("step") or "", -1)
        return cls(
            tab if tab in names_of(run) else OVERVIEW,
            step if step >= 0 else None,
            charts.window_of(query.get("smooth") or ""),
            bool(query.get("log")),
        )

    @property
    def query(self) -> str:
        """Return what the address of its live updates says."""
        values = {"tab": self.tab} | ({} if self.step is None else {"step": self.step})
        return urlencode(values)

    @property
    def is_drawn(self) -> bool:
        return self.tab in DRAWN


@dataclass(frozen=True)
class Tab:
    name: str
    title: str
    address: str
    is_current: bool


def names_of(run: Run) -> list[str]:
    """Return the tabs of this run: people review only what its kind shows them."""
    return [name for name in TITLES if name != REVIEW or kind_sections.template_of(run.kind, REVIEW)]


def tabs_of(run: Run, view: View) -> list[Tab]:
    return [Tab(name, TITLES[name], address(run, name), name == view.tab) for name in names_of(run)]


def address(run: Run, tab: str = OVERVIEW, **values: Any) -> str:
    """Return the address of a tab."""
    query = urlencode(({} if tab == OVERVIEW else {"tab": tab}) | values)
    return reverse("run", args=[run.pk]) + (f"?{query}" if query else "")
