"""Add to the pages of one kind of run what only that kind shows.

A kind that has more to tell brings a template, `templates/training/runs/kinds/<kind>.html` on the page of a run or
`<kind>_form.html` below the form of a new one, and registers what that template needs: with `RUN_SECTIONS` a function
of the run whose result joins the page's context, with `FORM_SECTIONS` a function of the form. Either works without the
other. A kind whose form needs more than that registers a view of its own with `FORM_PAGES`.
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


@dataclass(frozen=True)
class RunSection:
    """Hold what the page of a run of this kind is given beside what all are given. A kind may have several."""

    kind: str
    context: Callable[[Run], dict[str, Any]]


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
    "Called with a run whenever its page is rendered; what they return joins the page's context.",
    key=lambda section: f"{section.kind}: {dotted_name(section.context)}",
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


def of_run(run: Run) -> dict[str, Any]:
    """Return what this run's kind adds to its page; it renders again whenever the run moves on, so it must be quick."""
    values: dict[str, Any] = {}
    for section in RUN_SECTIONS.values():
        if section.kind == run.kind:
            values |= section.context(run)
    return {**values, "kind_template": _existing(f"training/runs/kinds/{run.kind}.html")}


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
