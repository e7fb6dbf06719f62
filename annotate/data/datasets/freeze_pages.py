"""Show a dataset that the background worker freezes: how far it is, when it will end, and what came of it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.data.datasets.begun_forms import form_with
from annotate.data.datasets.freezing import cancel_freeze
from annotate.models import DatasetFreeze, Project
from common.texts import time_left

_TELLS = 0.1  # of the work: before, the time that is left would be a guess


@in_project(get="research")
def freeze(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    order = get_object_or_404(DatasetFreeze.objects.select_related("created_by", "dataset"), project=project, pk=pk)
    context = {
        "project": project,
        "freeze": order,
        "left": _left(order),
        "form": form_with(order.dataset, request.GET.get("next", "")) if order.dataset else "",
        "waits": order.state == "queued" and (timezone.now() - order.created_at).total_seconds() > 15,
    }
    part = "#progress" if request.htmx and not request.htmx.boosted else ""
    return render(request, f"annotate/data/dataset_freeze.html{part}", context)


def _left(order: DatasetFreeze) -> str:
    if order.started_at is None or not order.is_under_way or order.share < _TELLS:
        return ""
    took = (timezone.now() - order.started_at).total_seconds()
    return time_left(took * (1 - order.share) / order.share)


@in_project(post="research")
def cancel(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    order = get_object_or_404(DatasetFreeze, project=project, pk=pk)
    try:
        cancel_freeze(order, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "Cancelled. No dataset was made.")
    return redirect("dataset-freeze", project.slug, pk)
