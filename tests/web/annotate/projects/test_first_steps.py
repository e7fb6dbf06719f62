"""What somebody meets in the first minutes: patterns that browsers take, and a next step that is a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from django.urls import reverse

from annotate.core.permissions import held_rights
from annotate.models import Completion, Project
from annotate.projects.overview.present import overview
from tests.support.factories import make_contestant, make_guideline, make_project, make_prompt, make_user

TEMPLATES = Path(__file__).resolve().parents[4] / "templates"


def next_step(project, person):
    return overview(project, person, held_rights(person, project))["next"]


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
def test_a_new_project_leads_to_the_page_that_adds_data(client, role):
    project = make_project()
    person = make_user(project, role=role)
    step = next_step(project, person)
    assert step.address == reverse("add-data", args=[project.slug])
    client.force_login(person)
    assert client.get(step.address).status_code == 200, "and it is open to them"


@pytest.mark.django_db
def test_who_brought_answers_is_led_to_people_before_models():
    """A team that only annotates has no model here; its tasks came with their answers."""
    project = make_project()
    manager = make_user(project, role="manager")
    Completion.objects.create(prompt=make_prompt(project), text="An answer.")  # brought: of no model here
    assert "what makes a good answer" in next_step(project, manager).words
    make_guideline(project)
    assert next_step(project, manager).address == reverse("people", args=[project.slug])
    make_user(project)
    assert next_step(project, manager).address == reverse("annotate", args=[project.slug])


@pytest.mark.django_db
def test_prompts_without_answers_lead_to_the_step_that_registers_a_model(client):
    project = make_project()
    make_prompt(project)
    person = make_user(project, role="researcher")
    step = next_step(project, person)
    assert (step.link, step.address) == ("Add a model", reverse("first-model", args=[project.slug]))
    client.force_login(person)
    assert client.get(step.address).url == reverse("first-model-step", args=[project.slug, "model"])


@pytest.mark.django_db
def test_a_visitor_is_asked_to_draw_only_where_there_is_a_question(client):
    project = make_project()
    make_contestant(project), make_contestant(project)
    arena = reverse("arena", args=[project.slug])
    assert next_step(project, AnonymousUser()).link == "Ask a question in the arena"
    assert "or draw one" not in client.get(arena).content.decode()
    make_prompt(project, side="eval")
    assert next_step(project, AnonymousUser()).link == "Draw a question in the arena"
    assert "or draw one" in client.get(arena).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "address"),
    [("Everyday Fragen: März", "everyday-fragen-marz"), ("x" * 49 + " yz", "x" * 49), ("  A_b ", "a_b")],
)
def test_an_address_that_is_left_empty_is_made_from_the_name(client, name, address):
    client.force_login(make_user(is_staff=True))
    sent = {"slug": "", "name": name, "asks_ratings": "on"}
    assert client.post(reverse("new-project"), sent).url == reverse("add-data", args=[address])
    assert Project.objects.get().name == name.strip()
    again = client.post(reverse("new-project"), sent)
    assert again.status_code == 400 and "slug" in again.context["errors"], "taken"


@pytest.mark.django_db
def test_a_name_without_latin_letters_needs_an_address(client):
    client.force_login(make_user(is_staff=True))
    refused = client.post(reverse("new-project"), {"slug": "", "name": "日本語"})
    assert refused.status_code == 400 and "slug" in refused.context["errors"]


@pytest.mark.django_db
def test_the_first_account_is_made_where_the_server_looks_for_it(client):
    html = client.get("/").content.decode()
    assert ".venv/bin/python manage.py createsuperuser" in html and "ASSAY_DATA" in html
