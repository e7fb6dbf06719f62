"""The stages before finetuning: shown where a project has them on."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.urls import reverse

from annotate.demo.seed import seed
from annotate.models import Project
from annotate.projects.actions import create_project
from tests.support.factories import make_project, sign_in
from tests.support.html_page import HtmlPage
from training.models import Run

pytestmark = pytest.mark.django_db
BEFORE = {"corpus", "tokenizer", "pretrain", "domain"}


def offered(client, project) -> set[str]:
    links = HtmlPage(client.get(reverse("choose-kind", args=[project.slug])).content.decode()).links
    return {link.strip("/").rsplit("/", 1)[-1] for link in links if f"/p/{project.slug}/runs/new/" in link}


def test_a_new_project_is_private_and_shows_no_stage_before_finetuning(client):
    project = create_project(slug="new", name="New", by=None)
    assert not project.is_public and not project.from_scratch
    sign_in(client, project, "researcher")
    assert "sft" in offered(client, project) and not BEFORE & offered(client, project)


def test_with_the_switch_every_kind_is_offered(client):
    project = make_project(from_scratch=True)
    sign_in(client, project, "researcher")
    assert offered(client, project) >= BEFORE | {"sft", "ppo"}


def test_a_manager_turns_it_on_in_the_settings(client):
    project = make_project()
    sign_in(client, project, "manager")
    page = reverse("project-settings", args=[project.slug])
    form = {name: value for name, value in client.get(page).context["values"].items() if value not in (False, "")}
    client.post(page, form | {"from_scratch": "on"} | {n: "on" for n, v in form.items() if v is True})
    project.refresh_from_db()
    assert project.from_scratch


def test_the_demo_has_it_on():
    assert seed(slug="demo", name="Demo", max_new_tokens=40).project.from_scratch


def test_projects_that_used_a_stage_before_have_it_on_after_the_migration():
    used, other = make_project(), make_project()
    Run.objects.create(project=used, kind="tokenizer", name="t", state="succeeded")
    Run.objects.create(project=other, kind="sft", name="s", state="succeeded")
    import_module("training.migrations.0007_from_scratch").show_what_was_used(apps, None)
    assert list(Project.objects.filter(from_scratch=True)) == [used]


@pytest.mark.parametrize("is_on", [False, True])
def test_corpora_are_linked_to_only_where_the_project_has_them_on(client, is_on):
    project = make_project(from_scratch=is_on)
    sign_in(client, project, "researcher")
    corpora = reverse("catalogue", args=[project.slug])
    pages = [reverse(name, args=[project.slug]) for name in ("data", "datasets", "add-data", "choose-kind")]
    for page in (*pages, reverse("new-run", args=[project.slug, "corpus"])):
        links = HtmlPage(client.get(page).content.decode()).links
        assert not any(link.startswith(corpora) for link in links) or is_on, page
    assert any(link.startswith(corpora) for link in links) == is_on
