"""Show managers a project's scales: add, change, retire, bring back, delete what nobody has used."""

from __future__ import annotations

import codecs
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project
from annotate.labelling.scales import actions, proposing
from annotate.labelling.scales.declared import declares_rating, scales_in
from annotate.labelling.scales.proposed_scales import LONGEST
from annotate.models import Project, Scale
from common.texts import with_line_feeds
from common.whole_numbers import row_id

_ASKED = {
    "asks_ratings": "ratings",
    "asks_comparisons": "comparisons",
    "asks_rankings": "rankings",
    "asks_answers": "written answers",
}
TEXTS = ("title", "definition", "low", "high")
_MOST_BYTES = 4 * LONGEST + 4  # more than that many characters take, and a byte order mark


@in_project(get="manage", post="manage")
def scales(request: MemberRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _show(request, project)
    try:
        if request.POST.get("do") == "propose":
            return _show(request, project, proposed=_proposed(request, project))
        message = _do(request, project)
    except Refused as refused:
        return _show(request, project, refused)
    messages.success(request, message)
    return redirect("scales", project.slug)


def _do(request: MemberRequest, project: Project) -> str:
    action = request.POST.get("do", "add")
    if action == "take":
        taken = proposing.take(project=project, text=request.POST.get("interface", ""), by=request.user)
        return f"{len(taken.new)} scales are added. Annotators see them from the next item on."
    if action == "add":
        kind, name = request.POST.get("kind", ""), request.POST.get("name", "").strip()
        new_scale = actions.add(project=project, by=request.user, kind=kind, name=name, **_fields(request))
        return f"{new_scale.title} is added. Annotators see it from the next item on."
    scale = get_object_or_404(project.scales, pk=row_id(request.POST.get("scale", "")))
    if action == "change":
        name = request.POST.get("name", scale.name).strip()
        actions.change(scale=scale, by=request.user, name=name, **_fields(request))
        return f"{scale.title} is saved."
    if action == "retire":
        actions.retire(scale=scale, by=request.user)
        return f"{scale.title} is retired. Its annotations stay."
    if action == "bring-back":
        actions.bring_back(scale=scale, by=request.user)
        return f"{scale.title} is back. Annotators see it from the next item on."
    if action == "delete":
        actions.delete(scale=scale, by=request.user)
        return f"{scale.title} is deleted. No annotation used it."
    raise Refused(do=f"{action!r} is not an action for scales.")


def _fields(request: MemberRequest) -> dict[str, Any]:
    texts = {name: with_line_feeds(request.POST.get(name, "")) for name in TEXTS}
    position = {"position": request.POST["position"]} if request.POST.get("position") else {}
    return {**texts, **position, "is_required": request.POST.get("is_required") == "on"}


def _proposed(request: MemberRequest, project: Project) -> tuple[str, proposing.Proposed]:
    """Return the interface that was pasted or sent as a file, and what it proposes."""
    text, file = request.POST.get("interface", ""), request.FILES.get("file")
    if file is not None:
        content = file.read(_MOST_BYTES)
        try:  # what is cut is too long whatever its last character was
            text = codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=len(content) < _MOST_BYTES)
        except UnicodeDecodeError as error:
            raise Refused(400, file="The file is not UTF-8; save it as UTF-8, or paste its text.") from error
    return text, proposing.look(project=project, text=text, by=request.user)


def _show(
    request: MemberRequest,
    project: Project,
    refused: Refused | None = None,
    *,
    proposed: tuple[str, proposing.Proposed] | None = None,
) -> HttpResponse:
    scales = scales_in(project)
    all_scales = list(project.scales.order_by("retired_at", "kind", "position", "id"))
    used = {scale.pk for scale in all_scales if actions.in_use(scale)}
    context = {
        "project": project,
        "scales": [(scale, scale.pk in used) for scale in sorted(all_scales, key=lambda s: s.retired_at is not None)],
        "kinds": Scale.Kind.choices,
        "declares": declares_rating(scales),
        "errors": refused.errors if refused else {},
        "sent": request.POST if refused else {},
        "interface": proposed[0] if proposed else request.POST.get("interface", ""),
        "proposed": proposed[1] if proposed else None,
        "asked_more": [_ASKED[name] for name in proposed[1].settings] if proposed else [],
    }
    return render(request, "annotate/labelling/scales.html", context, status=refused.status if refused else 200)
