"""What the pages of one kind of run show beside what all of them do.

A kind that has more to tell brings a template, `templates/training/kinds/<kind>.html` on the page of a run or
`<kind>_form.html` below the form of a new one, and says here what that template needs: one line in `CONTEXT`, a
function of the run whose result joins the page's context, or in `FORM_CONTEXT`, a function of the form.
Either works without the other. A kind whose form needs more than that brings a view of its own: a line in `NEW`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from training.runs.present import classify_section as classify_page
from training.runs.present import pretrain_section as pretrain_page
from training.runs.present import reward_section as reward_page

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from annotate.models import Project
    from training.models import Run
    from training.runs.present.run_form import RunForm

CONTEXT: dict[str, Callable[[Run], dict[str, Any]]] = {
    "classify": classify_page.context,
    "reward": reward_page.context,
}
FORM_CONTEXT: dict[str, Callable[[RunForm], dict[str, Any]]] = {"pretrain": pretrain_page.form_context}
# In place of the page that makes a form of the config alone; for those who may start runs.
NEW: dict[str, Callable[[HttpRequest, Project], HttpResponse]] = {}


def of_run(run: Run) -> dict[str, Any]:
    """What this run's kind adds to its page; it renders again whenever the run moves on, so it must be quick."""
    own = CONTEXT[run.kind](run) if run.kind in CONTEXT else {}
    return {**own, "kind_template": _existing(f"training/kinds/{run.kind}.html")}


def of_form(form: RunForm) -> dict[str, Any]:
    name = form.kind.name
    own = FORM_CONTEXT[name](form) if name in FORM_CONTEXT else {}
    return {**own, "kind_form_template": _existing(f"training/kinds/{name}_form.html")}


def _existing(name: str) -> str:
    """The template's name, or nothing when no such file is there."""
    try:
        get_template(name)
    except TemplateDoesNotExist:
        return ""
    return name
