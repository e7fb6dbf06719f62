"""Show who may do what in a project: its members, the invitations on their way, and the door for those who join."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.core.mail import send_mail
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, allows, in_project, refused_page
from annotate.core.permissions import can
from annotate.models import NoticeMail, Project, Role, User
from annotate.projects import actions, invitations, member_languages
from annotate.projects.accounts import adapter as accounts
from annotate.projects.accounts import notice_mail
from annotate.projects.accounts.single_sign_on import button

_ON_A_PAGE = 100
MAY = {
    Role.ANNOTATOR: "rates and compares answers",
    Role.REVIEWER: (
        "also reads and exports annotations of others, decides disagreements, and sees their quality figures"
    ),
    Role.RESEARCHER: "also imports, freezes datasets, starts runs",
    Role.MANAGER: "also changes settings, scales and guidelines, invites people, and decides which annotations count",
}


@never_cache
@in_project(get="manage")
def people(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the members, and the link of an invitation that was just made: once."""
    query = request.GET.get("q", "").strip().replace("\x00", "")
    rows = project.memberships.select_related("user").order_by("role", "user__username")
    page = Paginator(rows.filter(user__username__icontains=query), _ON_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "members": page,
        "searched": query,
        "query": f"{urlencode({'q': query})}&" if query else "",
        "has_batches": project.memberships.exclude(batch="").exists(),
        "roles": [(role, role.label, MAY[role]) for role in Role],
        "invitations": project.invitations.open().filter(salt="").select_related("invited_by"),
        "n_in_batches": project.invitations.exclude(salt="").count(),
        "days": invitations.DAYS,
        "sends_mail": bool(settings.EMAIL_NOTICES_FROM),
    }
    token = request.session.pop(_new_link(project), "")
    if invitation := invitations.standing(token):
        context |= {"made": invitation, "link": settings.SITE_URL + reverse("invitation", args=[token])}
    return render(request, "annotate/projects/people.html", context)


@in_project(post="manage")
def members(request: MemberRequest, project: Project) -> HttpResponse:
    """Add a person, change their role and languages, or remove them (role `remove`)."""
    username, role = request.POST.get("username", "").strip(), request.POST.get("role", "")
    user = User.objects.filter(username=username.replace("\x00", "")).first()
    if user is None:
        missing = f"There is no account {username!r}; check the spelling, or send an invitation instead."
        return refused_page(request, Refused(username=missing), project=project)
    if role == "remove":
        return _act(
            request,
            project,
            f"{user} is no longer a member. Their annotations stay.",
            lambda: actions.remove_member(project=project, user=user, by=request.user),
        )
    return _act(
        request,
        project,
        f"{user} is {role} in {project.name}.",
        lambda: member_languages.change_member(
            project=project, user=user, role=role, language=request.POST.get("language"), by=request.user
        ),
    )


@in_project(post="manage")
def invite(request: MemberRequest, project: Project) -> HttpResponse:
    """Make an invitation. Its link is shown once, and sent where there is an address and a mail server."""
    entered = {name: request.POST.get(name, "") for name in ("email", "role", "language")}
    try:
        invitation, token = invitations.invite(project=project, by=request.user, **entered)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    link = settings.SITE_URL + reverse("invitation", args=[token])
    if invitation.email and settings.EMAIL_NOTICES_FROM:
        words = f"{request.user} invites you to {project.name} as {invitation.role}:\n\n{link}\n\nThe link works once."
        send_mail(
            f"Invitation to {project.name}", words, settings.EMAIL_NOTICES_FROM, [invitation.email], fail_silently=True
        )
    request.session[_new_link(project)] = token  # the next page shows it and forgets it; a reload invites nobody
    return redirect("people", project.slug)


def _new_link(project: Project) -> str:
    """Return the name in the session under which the token waits to be shown."""
    return f"invited-to-{project.pk}"


@in_project(post="manage")
def revoke(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    invitation = get_object_or_404(project.invitations, pk=pk)
    return _act(
        request,
        project,
        "The invitation is withdrawn. Its link no longer works.",
        lambda: invitations.revoke(invitation=invitation, by=request.user),
    )


@never_cache
@allows(get="anybody", post="anybody")
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show what one is invited to. Whoever has no account yet makes one, and is in."""
    standing = invitations.standing(token)
    if standing is None:
        return render(request, "annotate/projects/invitation.html", {"found": None}, status=410)
    if request.method == "POST" and isinstance(request.user, User):
        try:
            membership = invitations.accept(token=token, by=request.user)
        except Refused as refused:
            return refused_page(request, refused)
        messages.success(request, f"Welcome to {membership.project.name}.")
        return redirect("project", membership.project.slug)
    if request.method == "GET" and standing.opened_at is None:
        invitations.note_opened(standing)
    response = render(
        request,
        "annotate/projects/invitation.html",
        {
            "found": standing,
            "may": MAY[Role(standing.role)],
            "languages": member_languages.in_words(standing.language),
            "single_sign_on": button(None),
            "takes_passwords": accounts.passwords_sign_in(),
        },
    )
    if not request.user.is_authenticated:
        accounts.remember_invitation(response, token)
    return response


@allows(get="anybody", post="anybody")
def join(request: HttpRequest, slug: str) -> HttpResponse:
    """Become an annotator of an open project."""
    project = get_object_or_404(Project, slug=slug, is_public=True)
    if not isinstance(request.user, User):
        # Without ?next=: where they go from there, `accounts.AccountAdapter` says, and lets them in on the way.
        response = redirect("account_signup" if accounts.passwords_sign_in() else "login")
        accounts.remember_joining(response, slug)
        return response
    if request.method != "POST":
        return redirect("project", slug)
    try:
        invitations.join(slug=slug, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project if can(request.user, "read", project) else None)
    messages.success(request, f"Welcome to {project.name}: annotate your first answer below.")
    return redirect("project", slug)


@never_cache
@allows(get="account")
def account(request: HttpRequest) -> HttpResponse:
    """Show one's own account: password, second factor, memberships, mails of notices, and the way to its tokens."""
    assert isinstance(request.user, User)
    memberships = list(request.user.memberships.select_related("project").order_by("project__name"))
    context = {
        "memberships": memberships,
        "has_languages": any(membership.language for membership in memberships),
        "has_second_factor": accounts.has_second_factor(request.user),
        "has_password": request.user.has_usable_password(),
        "takes_passwords": accounts.passwords_sign_in(),
        "single_sign_on": button(request),
        "notified": notice_mail.notified_memberships(request.user),
        "mail_choices": NoticeMail.choices,
        "sends_mail": bool(settings.EMAIL_NOTICES_FROM),
    }
    return render(request, "annotate/projects/account.html", context)


def _act(request: HttpRequest, project: Project, done: str, action: Callable[[], object]) -> HttpResponse:
    try:
        action()
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, done)
    return redirect("people", project.slug)
