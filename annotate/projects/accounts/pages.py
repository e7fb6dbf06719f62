"""Make one's own API tokens, show them once, and revoke them; choose when notices are mailed."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import allows, refused_page
from annotate.models import ApiToken, User
from annotate.projects.accounts import actions, notice_mail
from common.whole_numbers import whole_number


@never_cache
@allows(get="account", post="account")
def tokens_page(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    errors: dict[str, str] = {}
    token, secret = None, ""
    if request.method == "POST":
        try:
            token, secret = actions.make(user=request.user, days=_days(request), **_name_and_scope(request))
        except Refused as refused:
            errors = refused.errors
    context = {
        "tokens": actions.live_of(request.user),
        "made": token,
        "secret": secret,
        "errors": errors,
        "given": request.POST if errors else {"scope": ApiToken.Scope.READ, "days": actions.DAYS},
        "scopes": [(scope.value, scope.label, may) for scope, may in actions.MAY.items()],
        "most_days": actions.MOST_DAYS,
    }
    return render(request, "annotate/projects/tokens.html", context, status=400 if errors else 200)


@allows(post="mine")
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    assert isinstance(request.user, User)
    token = get_object_or_404(ApiToken, pk=pk, user=request.user)
    try:
        actions.revoke(token=token, by=request.user)
    except Refused as refused:
        return refused_page(request, refused)
    messages.success(request, f"{token.name} is revoked. Programs can no longer use it.")
    return redirect("tokens")


def _name_and_scope(request: HttpRequest) -> dict[str, str]:
    return {"name": request.POST.get("name", ""), "scope": request.POST.get("scope", "")}


def _days(request: HttpRequest) -> int:
    text = request.POST.get("days", "")
    days = whole_number(text, None, digits=5)
    if days is None:
        raise Refused(days=f"{text!r} is not a number of days from 1 to {actions.MOST_DAYS}.")
    return days


@allows(post="account")
def choose_notice_mail(request: HttpRequest) -> HttpResponse:
    """Write down for each project when its notices are mailed; a project that was not sent stays as it is."""
    assert isinstance(request.user, User)
    try:
        for each in notice_mail.notified_memberships(request.user):
            if when := request.POST.get(f"mail-{each.pk}"):
                notice_mail.choose_mail(user=request.user, project=each.project, when=when)
    except Refused as refused:
        return refused_page(request, refused)
    messages.success(request, "Your choice is saved.")
    return redirect(reverse("account") + "#e-mail")
