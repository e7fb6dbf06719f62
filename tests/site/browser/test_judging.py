"""Rating, comparing, skipping and undoing, in a real browser, with the mouse and with keys alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.site.browser.judging import gone, press, shown
from tests.support.factories import PASSWORD
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow


def stored(site, username: str, kind: str) -> list[dict]:
    """What the API says that this person has said, newest last."""
    with site.api("rita") as api:
        rows = api.get(f"{kind}/", params={"project": "everyday"}).json()["results"]
    return sorted((row for row in rows if row["author"] == username), key=lambda row: row["id"])


def next_item(page, action) -> None:
    """Do something and wait until another item is shown, and the server has what was sent."""
    before = shown(page)
    action()
    gone(page, before)


def test_rate_with_the_mouse(site, sign_in):
    page = sign_in("anna")
    page.goto(site.page("judge/?kind=rate"))
    page.locator("label", has_text="Thumbs up").click()
    page.locator(".stars label").nth(3).click()
    next_item(page, lambda: page.locator("button.send").click())
    row = stored(site, "anna", "ratings")[-1]
    assert (row["thumbs"], row["stars"], row["status"]) == (True, 4, "counted")
    assert row["seconds"] > 0


def test_compare_with_keys_alone(site, sign_in):
    page = sign_in("anna")
    page.goto(site.page("judge/?kind=compare"))
    expect(page.locator("#answer-b")).to_be_visible()
    next_item(page, lambda: press(page, "7"))  # a choice is sent at once; Undo takes it back
    row = stored(site, "anna", "comparisons")[-1]
    assert (row["winner"], row["strength"]) == ("model_b", 3)


def test_undo_brings_the_same_item_back_with_what_was_said(site, sign_in):
    page = sign_in("ben")
    page.goto(site.page("judge/?kind=rate"))
    first = page.locator("#task").get_attribute("data-assignment")
    press(page, "n")
    press(page, "2")
    next_item(page, lambda: press(page, "Enter"))
    press(page, "u")
    expect(page.locator(f"#task[data-assignment='{first}']")).to_be_visible()
    expect(page.locator("input[name=thumbs][value=down]")).to_be_checked()
    assert stored(site, "ben", "ratings")[-1]["status"] == "withdrawn"

    press(page, "y")
    next_item(page, lambda: press(page, "Enter"))
    said = stored(site, "ben", "ratings")
    assert [row["status"] for row in said] == ["withdrawn", "counted"] and said[-1]["thumbs"] is True


def test_skip_with_a_reason_by_keys(site, sign_in):
    page = sign_in("ben")
    page.goto(site.page("judge/?kind=compare"))
    press(page, "s")
    next_item(page, lambda: press(page, "1"))


def test_nothing_on_the_page_names_a_model(site, sign_in):
    page = sign_in("anna")
    page.goto(site.page("judge/?kind=compare"))
    expect(page.locator("#answer-b")).to_be_visible()
    assert not {"heron", "kestrel"} & set(page.content().lower().replace("/", " ").split())
    assert "heron" not in page.content().lower()


@pytest.mark.thorough
def test_the_pictures_of_the_documentation_are_taken_by_a_script(site, forms, browser, tmp_path):
    """Two of them: a form on a phone, and a page."""
    take = [sys.executable, "docs/take_pictures.py", "--url", site.url, "--folder", str(tmp_path), "--user", "pia"]
    take += ["--password", PASSWORD]
    for what in (
        ["--forms", "--only", "judge-rate", "--screens", "phone"],
        ["--project", "judge-rate", "--only", "leaderboard", "--screens", "dark"],
    ):
        subprocess.run([*take, *what], cwd=ROOT, env=site.environment, check=True, timeout=300)
    pictures = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in pictures] == ["judge-rate-phone.png", "leaderboard-dark.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
