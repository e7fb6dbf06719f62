"""Live pages of this app: the page of a run and the list of runs (`training.runs.live_pages`)."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from typing import Any

from annotate.core.permissions import can
from annotate.models import Project
from training.models import Run
from training.runs.live_pages import LivePage
from training.runs.present import run_details, run_list
from training.runs.present.run_page import run_charts, run_tabs
from training.runs.present.run_page.run_charts import Figures
from training.runs.queue.announcements import group_of

_MOST_APPENDED = 600  # lines of a table, before it is thinned anew


class RunPage(LivePage):
    right = "read"

    def open(self) -> bool:
        self.run_id: int = self.scope["url_route"]["kwargs"]["run_id"]
        self.group = group_of(self.run_id)
        self.sent_parts: dict[str, str] = {}
        self.fingerprint: Any = None
        self.figures: Figures | None = None
        self.appended = 0
        self.sequence, self.row_id = _position(self.query.get("after", ""))
        run = Run.objects.select_related("project").filter(pk=self.run_id).first()
        if run is None or not self.may_enter(run.project):
            return False
        may = partial(can, self.scope["user"], project=run.project)
        self.reader = run_details.Reader(may_change=may("research"), may_review=may("review"), may_manage=may("manage"))
        self.view = run_tabs.View.of(run, self.query)
        return True

    def updates(self) -> tuple[str, bool]:
        run = Run.objects.select_related(*run_details.RELATED).get(pk=self.run_id)
        fingerprint = run_details.fingerprint(run)
        if fingerprint == self.fingerprint:
            return "", False
        self.fingerprint = fingerprint
        figures, rows, is_back, is_whole = (
            self._read(run) if self.view.is_drawn else (Figures.ends(run), [], False, False)
        )
        rendered = run_details.render_parts(run, self.view, figures, self.reader, whole_tables=is_whole)
        changed = [html for name, html in rendered.parts.items() if self.sent_parts.get(name) != html]
        self.sent_parts |= rendered.parts
        parts = [*changed, rendered.new_rows, self._points(rows, is_back, rendered.curves)]
        return "".join(parts), run.is_finished

    def _read(self, run: Run) -> tuple[Figures, list[run_charts.Row], bool, bool]:
        """Return the figures; the points that the page lacks; whether it must forget its own; whether the tables come
        whole.

        All rows are read when the page connects, and when rows were taken back; after that, those that are new.
        """
        rows, is_back = run_charts.new_rows(self.run_id, self.sequence, self.row_id)
        known_figures = self.figures
        figures = known_figures.add(rows) if known_figures else None
        is_whole = is_back or self.appended > _MOST_APPENDED
        if (
            figures is None or known_figures is None or is_whole or figures.names != known_figures.names
        ):  # another curve, another column
            figures = Figures.read(run, None if is_back else rows[-1][0] if rows else self.sequence)
            self.appended, is_whole = 0, True
        rows = figures.rows if is_back else rows
        self.appended += 0 if is_whole else len(rows)
        if rows or is_back:
            self.sequence, self.row_id = rows[-1][:2] if rows else (0, 0)
        self.figures = figures.without_rows()
        return figures, rows, is_back, is_whole

    def _points(self, rows: list[run_charts.Row], is_back: bool, curves: list[dict[str, Any]]) -> str:
        if not rows and not is_back:
            return ""
        points = run_charts.points(rows, {curve["name"] for curve in curves})
        attributes = f'data-points="{escape(json.dumps(points))}" data-curves="{escape(json.dumps(curves))}"'
        attributes += " data-afresh" if is_back else ""
        return f'<div id="new-points" hx-swap-oob="true" hidden {attributes}></div>'


class RunList(LivePage):
    right = "read"

    def open(self) -> bool:
        self.last_html = ""
        project = Project.objects.filter(slug=self.scope["url_route"]["kwargs"]["slug"]).first()
        if project is None or not self.may_enter(project):
            return False
        self.project = project
        return True

    def updates(self) -> tuple[str, bool]:
        html = run_list.render_rows(self.project, self.query.get("kind", ""), self.query.get("page", ""))
        if html == self.last_html:
            return "", False
        self.last_html = html
        return html, False


def _position(after: str) -> tuple[int, int]:
    """Return `sequence.id` of the last row the page has; the beginning when it says nothing that can be read."""
    sequence, _, row_id = after.partition(".")
    return (int(sequence), int(row_id)) if sequence.isdecimal() and row_id.isdecimal() else (0, 0)
