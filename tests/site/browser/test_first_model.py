"""From an empty installation to a child in the arena, as a person goes: by keys alone, then by thumb on a phone.

Prints how many presses and typed fields it took, which docs/experiments/first-model.md quotes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.site.browser.judging import gone, press, shown
from tests.support.factories import PASSWORD
from tests.support.sites.site import Site, empty_site
from tests.support.sites.widths import assert_fits
from tests.support.tiny_model import make_elsewhere

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
MOST_TABS = 80
A_RUN_MS = 180_000  # on two cores that others use too
ENOUGH_PAIRS = 12
PICTURES = os.environ.get("FIRST_MODEL_PICTURES", "")  # a folder, for whoever wants to look


class Hand:
    """Somebody at the page. `presses` counts buttons, links and choices; `typed` the fields that were filled in."""

    def __init__(self, page: Page) -> None:
        self.page, self.presses, self.typed = page, 0, 0

    def press(self, target: Locator) -> None:
        self.presses += 1
        self._press(target)

    def type(self, target: Locator, text: str) -> None:
        self.typed += 1
        self._reach(target)
        self.page.keyboard.type(text)

    def choose_file(self, target: Locator, path: Path) -> None:
        self.presses += 1
        with self.page.expect_file_chooser() as chooser:
            self._press(target)
        chooser.value.set_files(path)

    def _reach(self, target: Locator) -> None:
        raise NotImplementedError

    def _press(self, target: Locator) -> None:
        raise NotImplementedError


class Keys(Hand):
    """Tab, and Enter or Space; no mouse."""

    def _reach(self, target: Locator) -> None:
        expect(target).to_be_visible()
        for _ in range(MOST_TABS):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{target} cannot be reached by Tab")

    def _press(self, target: Locator) -> None:
        self._reach(target)
        self.page.keyboard.press("Enter")


class Thumb(Hand):
    def _reach(self, target: Locator) -> None:
        target.tap()

    def _press(self, target: Locator) -> None:
        target.tap()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Site]:
    """An installation with its first account and nothing else, and what its owner has at hand: weights and prompts."""
    site = empty_site(tmp_path / "data")
    make_elsewhere(site.data / "models" / "mine")
    rows = [{"prompt": f"What is told of the sea, {n}?", "topic": "sea"} for n in range(26)]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    site.create_superuser("mina")
    try:
        site.start()
        yield site
    finally:
        site.stop()


def sign_in(hand: Hand, site: Site) -> None:
    page = hand.page
    page.goto(f"{site.url}/")
    page.goto(f"{site.url}/sign-in/")
    page.locator("main input[autocomplete=username]").fill("mina")
    page.locator("main input[type=password]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    expect(page.locator(".who")).to_have_text("mina")


def fits(page: Page, name: str) -> None:
    """Nothing scrolls sideways, at the page's own width and at a phone's."""
    assert_fits(page, name)
    if PICTURES:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            width = page.viewport_size["width"] if page.viewport_size else 0
            page.screenshot(path=f"{PICTURES}/{name}-{width}-{scheme}.png", full_page=True)
        page.emulate_media(color_scheme="light")


def annotate(page: Page) -> tuple[int, int]:
    """Annotate by the page's own keys until there are pairs enough; return comparisons and ratings."""
    pairs = ratings = 0
    while pairs < ENOUGH_PAIRS:
        expect(page.locator("#task[data-assignment]")).to_be_visible()
        assignment = shown(page)
        if page.locator("#answer-b").count():
            press(page, "1" if pairs % 2 else "5")
            pairs += 1
        else:
            press(page, "y" if ratings % 2 else "n", "Enter")
            ratings += 1
        gone(page, assignment)
    return pairs, ratings


def test_from_an_empty_installation_to_a_child_in_the_arena(empty, browser: Browser, axe, tmp_path):
    """Begun at a desk by keys; gone on with on a phone, by thumb, once there are answers."""
    desk = browser.new_context(viewport={"width": 1280, "height": 900})
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    keys, thumb = Keys(desk.new_page()), Thumb(phone.new_page())
    try:
        sign_in(keys, empty)
        sample_answers(keys, axe, tmp_path / "prompts.jsonl")
        sign_in(thumb, empty)
        thumb.page.goto(keys.page.url)
        pairs, ratings = train_a_child(thumb, axe, empty)
    finally:
        desk.close()
        phone.close()
    presses, typed = keys.presses + thumb.presses, keys.typed + thumb.typed
    print(f"\n{presses} presses, {typed} typed fields; {pairs} + {ratings} annotated")
    names = {name for (name,) in empty.query("select name from annotate_languagemodel")}
    competing = empty.query("select count(*) from annotate_contestant where left_at is null")[0][0]
    assert {"mine"} < names and competing == 2
    assert typed == 2 and presses == 10


def sample_answers(hand: Hand, axe, prompts: Path) -> None:
    """Go from the home page to the page that asks for annotations."""
    page = hand.page
    fits(page, "0-home")
    hand.press(page.get_by_role("button", name="Start from my model"))

    hand.type(page.get_by_label("Name of the project"), "Tales of the sea")
    hand.type(page.get_by_label("Source of the model"), "models/mine")
    fits(page, "1-start")
    axe(page)
    hand.press(page.get_by_role("button", name="Register"))
    expect(page.locator("#waiting .state")).to_be_visible()
    fits(page, "1-waiting")

    expect(page.get_by_role("heading", name="Prompts", level=1)).to_be_visible(timeout=A_RUN_MS)  # by itself
    hand.choose_file(page.get_by_label("A file of prompts"), prompts)
    hand.press(page.get_by_role("button", name="Preview"))
    take = page.get_by_role("button", name="Import these prompts")
    expect(take).to_be_visible(timeout=60_000)
    expect(page.get_by_text("What is told of the sea, 0?")).to_be_visible()
    expect(page.get_by_text("the import does not use: topic")).to_be_visible()
    fits(page, "2-prompts")
    axe(page)
    hand.press(take)

    have = page.get_by_role("button", name="Sample answers")
    expect(have).to_be_visible(timeout=60_000)
    fits(page, "3-answers")
    axe(page)
    hand.press(have)
    expect(page.get_by_role("heading", name="Annotations", level=1)).to_be_visible(timeout=A_RUN_MS)  # by itself


def train_a_child(hand: Hand, axe, site: Site) -> tuple[int, int]:
    """Annotate, and go on to the child in the arena; return how many comparisons and ratings that took."""
    page = hand.page
    fits(page, "4-annotations")
    axe(page)
    hand.press(page.get_by_role("button", name="Annotate now"))
    pairs, ratings = annotate(page)

    # Left, and taken up again from the project's page.
    page.goto(f"{site.url}/p/tales-of-the-sea/")
    fits(page, "4-project")
    hand.press(page.get_by_role("button", name="Continue with the next step"))
    expect(page.get_by_text("can be trained:")).to_be_visible()
    hand.press(page.get_by_role("button", name="Go to training"))
    expect(page.get_by_role("radio", name=re.compile("proposed"))).to_be_checked()
    fits(page, "5-training")
    axe(page)
    hand.press(page.get_by_role("button", name="Train"))
    expect(page.locator("#waiting .state")).to_be_visible()
    fits(page, "5-waiting")

    child = page.get_by_role("heading", level=1, name=re.compile(r"mine-(dpo|kto)"))
    expect(child).to_contain_text("competes", timeout=A_RUN_MS)  # by itself
    fits(page, "6-child")
    return pairs, ratings
