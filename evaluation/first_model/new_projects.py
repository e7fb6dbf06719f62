"""Begin the project of a path by its name alone."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q
from django.utils.text import slugify

from annotate.models import Membership, Project, User
from annotate.projects.actions import create_project
from common.texts import first_free, is_storable


def start_project(*, name: str, by: User) -> Project:
    """Return a project of that name, whose address follows from it: a new one, or the one that the person began by this
    name before and that holds nothing. So a first step that failed leaves no second project."""
    if is_storable(name) and (begun := _begun(name.strip(), by)):
        return begun
    stem = slugify(name)[:40].strip("-") or "project"
    slug = first_free(stem, lambda slug: Project.objects.filter(slug=slug).exists(), "{}-{}", longest=50)
    return create_project(slug=slug, name=name, by=by)


def _begun(name: str, by: User) -> Project | None:
    """Return the person's own project of that name with nobody else, no prompt, model, run or path in it."""
    members = Membership.objects.filter(project=OuterRef("pk"))
    own = Project.objects.filter(Exists(members.filter(user=by)), ~Exists(members.exclude(user=by)), created_by=by)
    is_empty = Q(prompts=None, runs=None, contestants=None, registered_models=None, first_model=None, imports=None)
    return own.filter(is_empty, name=name).order_by("pk").first()
