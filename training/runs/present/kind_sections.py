"""Add to the pages of one kind of run what only that kind shows.

A kind that has more to tell brings a template, `templates/training/runs/kinds/<kind>.html` on the overview of a run,
`<kind>_<tab>.html` on another tab or `<kind>_form.html` below the form of a new one, and registers what that template
needs: with `RUN_SECTIONS` a function of the run whose result joins the tab's context, with `FORM_SECTIONS` a function
of the form. Either works without the other. A kind whose form needs more than that registers a view of its own with
`FORM_PAGES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from annotate.core.hooks import Hook, dotted_name

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from annotate.models import Project
    from training.models import Run
    from training.runs.present.run_form import RunForm


_OVERVIEW = "overview"


@dataclass(frozen=True)
class RunSection:
    """Hold what a tab of a run of this kind is given beside what all are given. A kind may have several."""

    kind: str
    context: Callable[[Run], dict[str, Any]]
    tab: str = _OVERVIEW


@dataclass(frozen=True)
class FormSection:
    """Hold what the form of a new run of this kind is given."""

    kind: str
    context: Callable[[RunForm], dict[str, Any]]


@dataclass(frozen=True)
class FormPage:
    """A view in place of the page that makes a form of the config alone; for those who may start runs."""

    kind: str
    view: Callable[[HttpRequest, Project], HttpResponse]


RUN_SECTIONS: Hook[RunSection] = Hook(
    "run sections",
    "Called with a run whenever that tab of its page is rendered; what they return joins the tab's context.",
    key=lambda section: f"{section.kind}, {section.tab}: {dotted_name(section.context)}",
)
FORM_SECTIONS: Hook[FormSection] = Hook(
    "form sections",
    "Called with the form of a new run; what they return joins the page's context.",
    key=lambda section: f"{section.kind}: {dotted_name(section.context)}",
)
FORM_PAGES: Hook[FormPage] = Hook(
    "form pages",
    "Called with a request and a project in place of the page of a new run of that kind; returns the response.",
    key=lambda page: page.kind,
)


def of_run(run: Run, tab: str = _OVERVIEW) -> dict[str, Any]:
    """Return what this run's kind adds to a tab; it renders again whenever the run moves on, so it must be quick."""
    values: dict[str, Any] = {}
    for section in RUN_SECTIONS.values():
        if (section.kind, section.tab) == (run.kind, tab):
            values |= section.context(run)
    return {**values, "kind_template": template_of(run.kind, tab)}


def template_of(kind: str, tab: str) -> str:
    """Return the template that a kind has for a tab, or nothing."""
    return _existing(
        f"training/runs/kinds/{kind}.html" if tab == _OVERVIEW else f"training/runs/kinds/{kind}_{tab}.html"
    )


def of_form(form: RunForm) -> dict[str, Any]:
    name = form.kind.name
    values: dict[str, Any] = {}
    for section in FORM_SECTIONS.values():
        if section.kind == name:
            values |= section.context(form)
    return {**values, "kind_form_template": _existing(f"training/runs/kinds/{name}_form.html")}


def _existing(name: str) -> str:
    """Return the template's name, or nothing when no such file is there."""
    try:
        get_template(name)
    except TemplateDoesNotExist:
        return ""
    return name
