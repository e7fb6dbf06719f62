"""Record what somebody chooses on the page of a run that has paused."""

from __future__ import annotations

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from annotate.core.errors import Refused
from annotate.core.page_access import allows, refused_page
from training.runs.access import find_run
from training.runs.ordering import pauses
from training.runs.present.run_page import run_tabs


@allows(post="research")
def choose(request: HttpRequest, run_id: int) -> HttpResponse:
    """Carry out a choice: the form holds its name, and for each number that it changes a field `<choice>.<option>`."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    if not request.user.is_authenticated:
        return redirect_to_login(run_tabs.address(run))
    name = request.POST.get("choice", "")
    try:
        pauses.choose(run=run, by=request.user, choice=name, changes=_changes(request, name))
    except Refused as refused:
        return refused_page(request, refused, project=run.project)
    return redirect("run", run.pk)


def _changes(request: HttpRequest, choice: str) -> dict[str, float]:
    """Return the numbers as they were typed, without those of other choices and empty fields."""
    prefix = f"{choice}."
    typed = {name.removeprefix(prefix): str(value) for name, value in request.POST.items() if name.startswith(prefix)}
    return {name: _number(name, value) for name, value in typed.items() if value.strip()}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Refused(400, **{f"changes.{name}": f"{text!r} is not a number."}) from None
