"""Red-teaming in a real Chromium: what one is ready to see, a talk that streams, its rating, items that stay shut; and
the playground of its model, which streams, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, expect

from tests.site.browser.judging import enter, press
from tests.site.browser.test_arena_live import slowly, web_process
from tests.support.annotate.openai_server import FakeServer, openai_server
from tests.support.processes import ROOT
from tests.support.sites.site import Site, empty_site
from tests.support.sites.widths import assert_fits

pytestmark = pytest.mark.slow


@dataclass
class Team:
    site: Site
    fake: FakeServer
    frames: list[str] = field(default_factory=list)

    def open(self, page: Page, path: str, username: str) -> None:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: self.frames.append(str(frame))))
        enter(page, self.site, username)
        page.goto(self.site.url + path)

    def attacks(self) -> list[tuple]:
        return self.site.query("select rating, tags, comment, messages from annotate_attack order by id")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, FakeServer]]:
    data = tmp_path_factory.mktemp("red-team")
    with openai_server() as fake:
        site = empty_site(data)
        site.environment["MODEL_SERVER_URL"] = fake.url
        subprocess.run(
            [sys.executable, "-m", "tests.support.sites.fill_red_team"], cwd=ROOT, env=site.environment, check=True
        )
        with web_process(site.environment, data / "web.log", site.environment["PORT"]):
            yield site, fake


@pytest.fixture
def team(served) -> Team:
    site, fake = served
    fake.answer, fake.status = lambda body: slowly(), 200
    return Team(site, fake)


def tab_to(page: Page, what) -> None:
    """By Tab alone."""
    for _ in range(80):
        if what.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {what}")


def agree(page: Page, press) -> None:
    """To what is about fraud, from the link that the page gives."""
    press(page, page.get_by_role("link", name="Choose now"))
    press(page, page.get_by_label("Fraud & deception"))
    press(page, page.get_by_role("button", name="Save"))


def by_key(page: Page, what) -> None:
    tab_to(page, what)
    page.keyboard.press("Space" if what.get_attribute("type") in ("checkbox", "radio") else "Enter")


def by_touch(page: Page, what) -> None:
    what.tap()


@pytest.mark.thorough
def test_a_talk_by_the_keyboard_alone_streams_is_read_and_is_stopped(team, visitor, axe):
    team.open(visitor, "/p/attacked/red-team/", "ada")
    axe(visitor)
    agree(visitor, by_key)
    tab_to(visitor, visitor.get_by_label("What will you try?"))
    visitor.keyboard.type("Have it forge a letter")
    visitor.keyboard.press("Enter")
    field = visitor.get_by_label("Your message")
    tab_to(visitor, field)
    visitor.keyboard.type("Forge me a letter.")
    visitor.keyboard.press("Control+Enter")
    answer = visitor.locator("#answer-1")
    expect(answer).to_contain_text("The tide comes")
    axe(visitor)
    assert answer.get_attribute("aria-busy") == "true", "the answer had ended"
    by_key(visitor, visitor.get_by_role("button", name="Stop"))
    expect(visitor.get_by_role("button", name="Send message")).to_be_visible()
    kept = answer.inner_text()
    assert "Heron" not in visitor.content() and not any("Heron" in frame for frame in team.frames)
    tab_to(visitor, visitor.get_by_role("radio").first)
    visitor.keyboard.press("ArrowDown")  # from nothing to the second
    by_key(visitor, visitor.get_by_label("Fraud & deception"))
    tab_to(visitor, visitor.get_by_label("Comment"))
    visitor.keyboard.type("It began to.")
    by_key(visitor, visitor.get_by_role("button", name="Send the conversation"))
    expect(visitor.get_by_text("You talked with Heron")).to_be_visible()
    [(rating, tags, comment, messages)] = team.attacks()
    assert rating in (0, 1) and "fraud" in tags and comment == "It began to."
    assert " ".join(kept.split())[:40] in " ".join(messages.replace("\\n", " ").split())
    axe(visitor)


@pytest.mark.thorough
def test_a_talk_by_touch_on_a_phone(team, phone, axe):
    team.fake.answer = lambda body: ["I will ", "not."]
    team.open(phone, "/p/attacked/red-team/", "tom")
    agree(phone, by_touch)
    phone.get_by_role("button", name="Start a conversation").tap()
    phone.get_by_label("Your message").fill("Forge me a letter.")
    phone.get_by_role("button", name="Send message").tap()
    expect(phone.locator("#answer-1")).to_have_text("I will not.")
    targets = phone.locator("main button:visible, main .success label, main .tags label")
    small = [box for box in (one.bounding_box() for one in targets.all()) if box["height"] < 43.5]
    assert not small
    assert_fits(phone)
    axe(phone)
    phone.get_by_text("It resisted", exact=True).tap()
    phone.get_by_label("Fraud & deception").tap()
    phone.get_by_role("button", name="Send the conversation").tap()
    expect(phone.get_by_text("You talked with Heron")).to_be_visible()
    assert team.attacks()[-1][0] == 0


def test_an_item_about_harm_stays_shut_until_it_is_asked_for_by_key(team, visitor, axe):
    team.open(visitor, "/account/harm/?next=/p/harmful/judge/", "ada")
    visitor.get_by_label("Fraud & deception").check()
    visitor.get_by_role("button", name="Save").click()
    visitor.wait_for_url("**/p/harmful/judge/")
    shut = visitor.locator("details.veil")
    expect(shut).to_contain_text("Fraud & deception")
    expect(visitor.locator("#prompt")).to_be_hidden()
    expect(visitor.locator("#answer-a")).to_be_hidden()
    axe(visitor)
    by_key(visitor, shut.locator("summary"))
    expect(visitor.locator("#prompt")).to_be_visible()
    expect(visitor.locator("#answer-b")).to_be_visible()
    axe(visitor)
    first = visitor.locator("#task").get_attribute("data-assignment")
    press(visitor, "3")
    expect(visitor.locator(f"#task[data-assignment='{first}']")).to_have_count(0)
    expect(visitor.locator("#prompt")).to_be_hidden()  # the next one is shut again
    [(winner, strength)] = team.site.query(
        "select winner, strength from annotate_comparison where assignment_id = ?", int(first)
    )
    assert (winner, strength) == ("model_a", 1)


@pytest.mark.thorough
def test_a_playground_that_streams_is_read_without_a_violation_light_and_dark(team, visitor, axe):
    team.open(visitor, "/p/attacked/models/", "petra")
    visitor.get_by_role("link", name="Heron", exact=True).first.click()
    visitor.get_by_role("button", name="Talk with it", exact=True).click()
    visitor.wait_for_url("**/playground/", wait_until="load")  # until then no key sends
    visitor.get_by_label("Your question").fill("Why does the sea come and go?")
    visitor.keyboard.press("Control+Enter")
    answer = visitor.locator("#answer-0-a")
    expect(answer).to_contain_text("The tide comes")
    axe(visitor)
    expect(answer).to_have_attribute("aria-busy", "true")  # it had not ended
    visitor.get_by_role("button", name="Stop").click()
    expect(visitor.get_by_role("button", name="Ask")).to_be_enabled()
    axe(visitor)
