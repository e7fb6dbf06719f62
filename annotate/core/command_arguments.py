"""Resolve a command's arguments, a project by its slug, a person by their name, and say what is refused of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from annotate.core.errors import Refused
from annotate.models import Project, User

_MOST_SLUGS = 20


def project_named(slug: str) -> Project:
    """Return the project; raises CommandError with the slugs that exist."""
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        slugs = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:_MOST_SLUGS]) or "none yet"
        raise CommandError(f"{f'There is no project {slug!r}' if slug else 'Name a project'}; there are: {slugs}.")
    return project


def person_named(username: str, role: str) -> User:
    """Return the first superuser where nobody is named. Raises CommandError that asks for someone of that role."""
    people = User.objects.filter(username=username) if username else User.objects.filter(is_superuser=True)
    person = people.order_by("id").first()
    if person is None:
        subject = f"no person {username!r}" if username else "no superuser"
        raise CommandError(f"There is {subject}: name a {role} of the project with --by.")
    return person


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raise CommandError for what is refused inside, with a line for each field."""
    try:
        yield
    except Refused as refused:
        raise CommandError("\n".join(f"{name}: {text}" for name, text in refused.errors.items())) from refused
