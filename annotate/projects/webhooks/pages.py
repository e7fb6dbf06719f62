"""Addresses that are told of what happens in a project: for its managers."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.events import EVENTS
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.models import Delivery, Project, Webhook
from annotate.projects.webhooks import actions as webhooks

_ON_A_PAGE = 30


@in_project(get="manage", post="manage")
def webhooks_page(request: MemberRequest, project: Project) -> HttpResponse:
    """Show all webhooks of the project, and a form for one more."""
    if request.method != "POST":
        return _all(request, project)
    url, events = request.POST.get("url", ""), request.POST.getlist("events")
    try:
        webhook_ = webhooks.add_webhook(project=project, url=url, events=events, by=request.user)
    except Refused as refused:
        return _all(request, project, url=url, chosen=events, errors=refused.errors, status=refused.status)
    messages.success(request, "The webhook is added. Its secret is below. Send a test event to check it.")
    return redirect("webhook", project.slug, webhook_.pk)


@never_cache
@in_project(get="manage", post="manage")
def webhook(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show one webhook: its settings, its secret, and every delivery."""
    webhook = get_object_or_404(Webhook, project=project, pk=pk)
    if request.method != "POST":
        return _one(request, project, webhook)
    try:
        message = _done(request, webhook)
    except Refused as refused:
        if not Webhook.objects.filter(pk=pk).exists():
            return refused_page(request, refused, project=project)
        webhook.refresh_from_db()
        return _one(request, project, webhook, errors=refused.errors, status=refused.status)
    messages.success(request, message)
    return redirect("webhook", project.slug, pk) if webhook.pk else redirect("webhooks", project.slug)


@in_project(post="manage")
def again(request: MemberRequest, project: Project, pk: int, delivery: int) -> HttpResponse:
    delivery_ = get_object_or_404(Delivery, webhook__project=project, webhook=pk, pk=delivery)
    try:
        webhooks.send_again(delivery_, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "The event is being sent again, with the same id.")
    return redirect("webhook", project.slug, pk)


def _done(request: MemberRequest, webhook: Webhook) -> str:
    """Do what the pressed button asks for; return what to say of it."""
    match request.POST.get("do"):
        case "save":
            events = request.POST.getlist("events")
            webhooks.change_webhook(webhook, url=request.POST.get("url", ""), events=events, by=request.user)
            return "Saved."
        case "on" | "off" as wanted:
            webhooks.change_webhook(webhook, is_active=wanted == "on", by=request.user)
            return "The webhook is on. Pending events are being sent." if wanted == "on" else "The webhook is off."
        case "test":
            webhooks.send_test(webhook, by=request.user)
            return "A test event is being sent; it appears below."
        case "rotate":
            webhooks.rotate_secret(webhook, by=request.user)
            return "There is a new secret. The old one stays valid for a day."
        case "remove":
            webhooks.remove_webhook(webhook, by=request.user)
            return "The webhook is removed."
    raise Refused(400, do="Unknown action; use one of the buttons.")


def _all(
    request: HttpRequest,
    project: Project,
    *,
    url: str = "",
    chosen: list[str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "project": project,
        "webhooks": project.webhooks.order_by("id"),
        "url": url,
        "events": _events(chosen or []),
        "errors": errors or {},
    }
    return render(request, "annotate/projects/webhooks.html", context, status=status)


def _one(
    request: HttpRequest,
    project: Project,
    webhook: Webhook,
    *,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    page = Paginator(webhook.deliveries.all(), _ON_A_PAGE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "project": project,
        "webhook": webhook,
        "events": _events(webhook.events),
        "page": page,
        "deliveries": [(one, json.dumps(one.body, indent=2, ensure_ascii=False)) for one in page],
        "errors": errors or {},
    }
    return render(request, "annotate/projects/webhook.html", context, status=status)


def _events(chosen: list[str]) -> list[tuple[str, str, bool]]:
    """Return (name, when it is sent, whether it is chosen)."""
    return [(name, words, name in chosen) for name, words in EVENTS.items()]
