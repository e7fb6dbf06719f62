"""What somebody meets in the first minutes: patterns that browsers take, and a next step that is a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.urls import reverse

from annotate.projects.next_step import next_step
from tests.support.factories import make_project, make_user

TEMPLATES = Path(__file__).resolve().parents[4] / "templates"


def test_patterns_are_taken_with_the_flag_that_browsers_use():
    """They compile `pattern` with the flag v: a bare hyphen in a class is an error there, and nothing is checked."""
    found = [
        (path.name, pattern)
        for path in TEMPLATES.rglob("*.html")
        for pattern in re.findall(r'\bpattern="([^"]*)"', path.read_text(encoding="utf-8"))
    ]
    assert found
    for name, pattern in found:
        for inside in re.findall(r"\[((?:\\.|[^\]\\])*)\]", pattern):
            bare = re.sub(r"\\.|\w-\w", "", inside)
            assert not set(bare) & set("-()[]{}/|"), (name, pattern)


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["manager", "researcher"])
def test_a_new_project_leads_to_the_page_that_imports(client, role):
    project = make_project()
    person = make_user(project, role=role)
    step = next_step(project, person)
    assert step.address == reverse("imports", args=[project.slug])
    client.force_login(person)
    assert client.get(step.address).status_code == 200, "and it is open to them"
