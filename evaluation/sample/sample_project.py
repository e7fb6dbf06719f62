"""Name the sample project, and tell it from others."""

from __future__ import annotations

from datetime import date

from annotate.models import Project

SLUG, PREFIX = "sample", "sample-"
NAME = "Sample project (finished, from a real turn of {})"


def date_in_words(day: str) -> str:
    """Return 28 November 2026 for 2026-11-28."""
    there = date.fromisoformat(day)
    return f"{there.day} {there:%B %Y}"


def is_sample(project: Project) -> bool:
    """Return whether the project was loaded from the fixture: it has the slug, and a simulation made it."""
    return project.slug == SLUG and project.created_by is not None and project.created_by.is_simulated


def sample_project() -> Project | None:
    project = Project.objects.filter(slug=SLUG).select_related("created_by").first()
    return project if project is not None and is_sample(project) else None
