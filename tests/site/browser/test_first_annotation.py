"""From a new project to its first annotation: few clicks, few typed fields, and no command in a shell."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.site.browser.judging import enter, gone, press, shown
from tests.support.processes import until
from tests.support.tiny_model import make_elsewhere

pytestmark = pytest.mark.slow
MOST_CLICKS = 8
A_RUN_MS = 300_000  # on two cores that others use too
SENT = """select count(*) from annotate_assignment a join annotate_project p on p.id = a.project_id
    where p.slug = ? and a.state = 'submitted'"""
ROWS = [
    {"prompt": f"Why is the number {n} odd?", "response_a": "Two does not divide it.", "response_b": "It likes to be."}
    for n in range(1, 40, 2)
]


class Hand:
    """Count what somebody clicks and types."""

    def __init__(self) -> None:
        self.clicks: list[str] = []

    def click(self, target: Locator) -> None:
        self.clicks.append(target.inner_text() or target.get_attribute("name") or "")
        target.click()


@pytest.fixture
def staff(site, owner, visitor) -> Page:
    """A page of an account that may make projects, signed in."""
    enter(visitor, site, owner)
    return visitor


def test_a_new_project_has_its_first_annotation_after_few_clicks(site, staff, tmp_path):
    page, hand = staff, Hand()
    file = tmp_path / "odd.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    page.goto(site.url)
    hand.click(page.get_by_role("link", name=re.compile("Start (another|a) project")))
    expect(page.locator("input[name=name]")).to_be_focused()
    page.keyboard.type("Odd numbers")
    hand.click(page.get_by_role("button", name="Create the project"))
    expect(page).to_have_url(re.compile("/p/odd-numbers/data/add/$"))
    with page.expect_file_chooser() as chooser:
        hand.click(page.locator("input[type=file]"))
    chooser.value.set_files(file)
    hand.click(page.get_by_role("button", name=re.compile(r"^Add (\d+ |the file$)")))
    expect(page).to_have_url(re.compile(r"/p/odd-numbers/data/imports/\d+/$"))
    hand.click(page.get_by_role("button", name="Annotate"))
    expect(page.locator("#task")).to_be_visible()
    first = shown(page)
    press(page, "1", "Enter")
    gone(page, first)
    print(f"{len(hand.clicks)} clicks: {', '.join(hand.clicks)}; 1 typed field; 2 keys")
    expect(page.get_by_text("2 of 60 today").first).to_be_visible()
    until(lambda: site.query(SENT, "odd-numbers")[0][0] == 1, 60, "the annotation is stored")
    assert len(hand.clicks) <= MOST_CLICKS


@pytest.mark.thorough
def test_where_a_model_answers_first_it_takes_as_few(site, staff, axe):
    """Prompts are pasted; the pages lead from them to a model, its answers and the first item."""
    make_elsewhere(site.data / "models" / "first", seed=7)
    page, hand = staff, Hand()
    page.goto(site.url)
    hand.click(page.get_by_role("link", name=re.compile("Start (another|a) project")))
    expect(page.locator("input[name=name]")).to_be_focused()
    page.keyboard.type("Even numbers")
    hand.click(page.get_by_role("button", name="Create the project"))
    page.locator("textarea[name=text]").fill("\n".join(f"Why is the number {n} even?" for n in range(2, 14, 2)))
    hand.click(page.get_by_role("button", name="Preview"))
    hand.click(page.get_by_role("button", name=re.compile(r"^Add (\d+ |the file$)")))
    hand.click(page.get_by_role("button", name="Add a model"))
    page.get_by_label("Source of the model").fill("models/first")
    hand.click(page.get_by_role("button", name="Register"))
    expect(page.get_by_role("heading", name="Answers", level=1)).to_be_visible(timeout=A_RUN_MS)  # by itself
    axe(page)
    hand.click(page.get_by_role("button", name="Sample answers"))
    expect(page.get_by_role("heading", name="Annotations", level=1)).to_be_visible(timeout=A_RUN_MS)  # by itself
    hand.click(page.get_by_role("button", name="Annotate now"))
    expect(page.locator("#task")).to_be_visible()
    first = shown(page)
    press(page, *(("1",) if page.locator("#answer-b").count() else ("y", "Enter")))
    gone(page, first)
    print(f"{len(hand.clicks)} clicks: {', '.join(hand.clicks)}; 3 typed fields")
    # The next item was there before the answer to the first had arrived.
    until(lambda: site.query(SENT, "even-numbers")[0][0] == 1, 60, "the annotation is stored")
    assert len(hand.clicks) <= MOST_CLICKS
