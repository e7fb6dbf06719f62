"""The front page: what this is, and which doors are open to whoever looks."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from annotate.models import Project, User
from annotate.permissions import ROLES_FOR, Person


def home(request: HttpRequest) -> HttpResponse:
    projects = list(_visible(request.user))
    judged = set()
    if request.user.is_authenticated:
        roles = ROLES_FOR["judge"]
        judged = set(request.user.memberships.filter(role__in=roles).values_list("project_id", flat=True))
    context = {
        "projects": projects,
        "judged": judged,
        "is_fresh": not Project.objects.exists(),
        "has_people": User.objects.exists(),
    }
    return render(request, "annotate/home.html", context)


def _visible(user: Person) -> QuerySet[Project]:
    projects = Project.objects.order_by("name")
    if user.is_superuser:
        return projects
    public = Q(is_public=True)
    return (
        projects.filter(public | Q(memberships__user=user.pk)).distinct()
        if user.is_authenticated
        else projects.filter(public)
    )
