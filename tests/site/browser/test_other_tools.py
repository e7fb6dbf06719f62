"""Coming from FastChat and from Argilla as their guides say it, in a browser: a file of theirs, tasks, an annotation,
the arena and the leaderboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.site.browser.judging import enter, gone, press, shown
from tests.support.annotate.openai_server import openai_server
from tests.support.processes import ROOT
from tests.support.sites.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
BROUGHT = ROOT / "tests" / "support" / "annotate" / "brought"
A_WHILE_MS = 60_000  # for the background worker, on two cores that others use too


def add_file(page: Page, site: Site, project: str, file: Path, *, source: str) -> None:
    page.goto(f"{site.url}/p/{project}/data/")
    page.get_by_role("main").get_by_text("Add data").first.click()
    page.locator("input[type=file]").set_input_files(file)  # the page goes on by itself
    expect(page.get_by_role("heading", level=1)).to_have_text(file.name)
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Source").fill(source)
    page.get_by_role("button", name=re.compile(r"^Add (\d+ |the file$)")).click()
    expect(page.get_by_text("Done on")).to_be_visible(timeout=A_WHILE_MS)


def test_from_fastchats_questions_to_a_rank(site: Site, owner: str, visitor: Page, tmp_path: Path):
    with openai_server() as server:
        server.models = ["alpha", "beta"]
        server.answer = lambda body: [f"So says {len(body['messages'])}. ", "It is the tide."]
        models = [{"name": name, "endpoint": f"{server.url}", "served_name": name} for name in server.models]
        file = tmp_path / "models.yaml"
        file.write_text(json.dumps({"project": {"name": "Questions", "eval_percent": 90}, "models": models}))
        site.manage("open_arena", f"--models={file}")
        page = visitor
        enter(page, site, owner)
        add_file(page, site, "questions", BROUGHT / "mt_bench" / "question.jsonl", source="mt-bench")

        page.goto(f"{site.url}/p/questions/arena/")
        vote(page)
        page.goto(f"{site.url}/p/questions/leaderboard/")
        for name in server.models:
            expect(page.get_by_role("rowheader", name=f"{name} external")).to_be_visible()


def vote(page: Page) -> None:
    """Have two models answer a question that is drawn, and say that A is better."""
    page.get_by_role("button", name="Draw a question").click()
    better = page.get_by_role("button", name="A is better")
    expect(better).to_be_enabled()
    better.click()
    outcome = page.locator(".outcome")
    expect(outcome).to_contain_text("Counted for the ranking")
    expect(outcome).to_contain_text("alpha")
    expect(outcome).to_contain_text("beta")


def test_from_argillas_records_to_an_annotation(site: Site, owner: str, visitor: Page, tmp_path: Path):
    site.manage("shell", "-c", NEW_PROJECT)
    page = visitor
    enter(page, site, owner)
    page.goto(f"{site.url}/p/records/scales/")
    page.get_by_label("Or as a file").set_input_files(BROUGHT / "argilla_settings.json")
    page.get_by_role("button", name="Show what it proposes").click()
    page.get_by_role("button", name=re.compile("Add \\d+ scale")).click()
    expect(page.get_by_text("How helpful?").first).to_be_visible()
    site.manage("shell", "-c", ASK_RATINGS_ALONE)  # which of several kinds comes first depends on numbers of rows
    records = tmp_path / "records.json"
    records.write_text((BROUGHT / "argilla_flat.json").read_text())
    add_file(page, site, "records", records, source="argilla")

    page.goto(f"{site.url}/p/records/judge/")
    expect(page.locator("#task[data-assignment]")).to_be_visible()
    assignment = shown(page)
    press(page, "5", "j", "4", "Enter")  # the stars, and the scale that Argilla's settings brought
    gone(page, assignment)
    said = site.query(
        "select stars, aspects from annotate_rating join annotate_completion c on c.id = completion_id "
        "join annotate_prompt p on p.id = c.prompt_id join annotate_project on annotate_project.id = p.project_id "
        "where slug = 'records' and annotate_rating.source = 'annotation'"
    )
    assert [(stars, list(json.loads(aspects).values())) for stars, aspects in said] == [(5, [4])]
    assert site.query("select count(*) from annotate_comparison where source = 'argilla'")[0][0] >= 1


NEW_PROJECT = """
from annotate.models import Project
Project.objects.create(slug="records", name="Records", eval_percent=0, asks_ratings=False)
"""
ASK_RATINGS_ALONE = """
from annotate.models import Project
project = Project.objects.get(slug="records")
assert project.asks_ratings, "Argilla's settings ask for them"
project.asks_answers = project.asks_comparisons = False
project.save()
"""
