"""A visitor in a battle, in a real Chromium, with a model server that takes its time: keys, touch, stops, votes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.site.browser.test_arena import NAMES
from tests.support.annotate.openai_server import FakeServer, openai_server
from tests.support.processes import ROOT, answers, until
from tests.support.sites.site import empty_site
from tests.support.sites.widths import assert_fits

pytestmark = pytest.mark.slow
WORDS = ["The", "tide", "comes", "and", "goes", "as", "the", "moon", "passes", "over.", ""]


def slowly(seconds: float = 0.08, words: int = 400):
    """An answer that is long under way, word by word, with some Markdown in it."""
    return [piece for n in range(words) for piece in (WORDS[n % len(WORDS)] + (" " if n % 20 else "\n\n- "), seconds)]


@dataclass
class Arena:
    url: str
    other: str  # another process of the same site
    fake: FakeServer
    frames: list[str] = field(default_factory=list)

    def ask(self, page: Page, text: str = "Why does the sea come and go?", *, touch: bool = False) -> None:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: self.frames.append(str(frame))))
        page.goto(f"{self.url}/p/everyday/arena/")
        page.get_by_label("Your question").fill(text)
        if touch:
            page.get_by_role("button", name="Ask two models").tap()
        else:
            page.keyboard.press("Control+Enter")
        page.wait_for_url("**/arena/*-*/")


@contextmanager
def web_process(environment: dict[str, str], log: Path, port: str) -> Iterator[str]:
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", port, "--log-level", "warning"]
    with log.open("a") as out:
        web = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}"), 90, f"port {port} answers; see {log}")
        yield f"http://127.0.0.1:{port}"
    finally:
        web.terminate()
        web.wait(15)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, FakeServer]]:
    """Two real web processes on one database of their own."""
    data = tmp_path_factory.mktemp("arena")
    with openai_server() as fake:
        site = empty_site(data)
        environment = site.environment | {"MODEL_SERVER_URL": fake.url}
        environment.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)  # ours alone: the product's must find out what it forbids
        subprocess.run([sys.executable, "-m", "tests.support.sites.fill_arena"], cwd=ROOT, env=environment, check=True)
        port = environment["PORT"]
        with (
            web_process(environment, data / "web.log", port) as url,
            web_process(environment, data / "other.log", str(int(port) + 1)) as other,
        ):
            yield url, other, fake


@pytest.fixture
def arena(served) -> Arena:
    url, other, fake = served
    fake.answer, fake.status = lambda body: slowly(), 200
    fake.requests.clear()
    return Arena(url, other, fake)


def test_with_the_keyboard_alone_one_votes_in_mid_stream_and_goes_on(arena, visitor):
    arena.ask(visitor)
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    expect(visitor.locator("#progress")).to_contain_text("If you vote now, they stop")
    seen = visitor.locator("#text-a").inner_text()
    visitor.keyboard.press("c")
    expect(visitor.get_by_label("Comment on your vote")).to_be_focused()
    visitor.keyboard.type("plainer")
    visitor.keyboard.press("Escape")
    visitor.keyboard.press("b")
    outcome = visitor.locator(".outcome")
    expect(outcome).to_contain_text("Your vote: B is better.")
    expect(outcome).to_contain_text("Your comment is saved")
    kept = visitor.locator("#text-a").inner_text()
    assert " ".join(kept.split()).startswith(" ".join(seen.split())[:-12]) and "Stopped here." in kept
    assert len(kept) < 2000 and visitor.locator("#choices").count() == 0
    expect(visitor.get_by_role("button", name="Next question")).to_be_focused()
    assert not any(name in frame.lower() for frame in arena.frames for name in NAMES)
    visitor.keyboard.press("a")  # a dead key after the reveal
    visitor.keyboard.press("n")
    visitor.wait_for_url("**/arena/*-*/")
    expect(visitor.get_by_text("Drawn question")).to_be_visible()


@pytest.mark.thorough
def test_a_stop_by_key_keeps_both_where_they_are_and_both_are_asked_on(arena, visitor):
    arena.ask(visitor)
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    visitor.keyboard.press("e")
    expect(visitor.locator("#progress")).to_contain_text("Both answers are finished")
    assert visitor.get_by_text("Stopped here.").count() == 2
    arena.fake.answer = lambda body: ["At half moon ", 0.2, "it is less."]
    visitor.keyboard.press("f")
    expect(visitor.get_by_label("Ask both a follow-up")).to_be_focused()
    visitor.keyboard.type("And at half moon?")
    visitor.keyboard.press("Control+Enter")
    expect(visitor.locator("#text-b")).to_contain_text("it is less.")
    expect(visitor.locator(".prompt")).to_have_count(2)
    conversations = [r["messages"] for r in arena.fake.requests if len(r["messages"]) == 3]
    assert len(conversations) == 2 and conversations[0][2]["content"] == "And at half moon?"
    visitor.keyboard.press("t")
    expect(visitor.locator(".outcome")).to_contain_text("Your vote: About the same.")
    visitor.get_by_role("link", name="your votes").click()
    expect(visitor.get_by_role("row").nth(1)).to_contain_text("About the same")


@pytest.mark.thorough
def test_a_page_that_streams_is_read_without_a_violation_light_and_dark(arena, visitor, axe):
    arena.ask(visitor)
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    axe(visitor)
    assert visitor.locator('#text-a[aria-busy="true"]').count() == 1, "the answer had ended"
    visitor.keyboard.press("e")
    expect(visitor.locator("#progress")).to_contain_text("Both answers are finished")
    axe(visitor)
    visitor.keyboard.press("x")
    expect(visitor.locator(".outcome")).to_contain_text("Both are bad")
    axe(visitor)
    visitor.goto(f"{arena.url}/p/everyday/arena/")
    axe(visitor)
    visitor.goto(f"{arena.url}/p/everyday/arena/history/")
    axe(visitor)


@pytest.mark.thorough
def test_what_is_announced_is_the_state_and_not_each_word(arena, visitor):
    """Live regions speak at the turns of a battle alone: nothing that is swapped with each frame stands in one."""
    arena.ask(visitor)
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    live = visitor.locator("[aria-live], [role=status], [role=alert], [role=log]")
    assert [live.nth(n).get_attribute("id") for n in range(live.count())] == ["progress"]
    until(lambda: visitor.wait_for_timeout(100) or len(arena.frames) > 12)
    assert sum('id="progress"' in frame for frame in arena.frames) == 2
    visitor.keyboard.press("e")


@pytest.mark.thorough
def test_on_a_phone_the_choices_stay_in_reach_and_are_touched(arena, phone, axe):
    arena.ask(phone, touch=True)
    expect(phone.get_by_role("button", name="B is better")).to_be_enabled()
    axe(phone)
    is_long = "document.documentElement.scrollHeight > 1.5 * innerHeight"  # asked from outside: the policy forbids eval
    until(lambda: phone.evaluate(is_long), 30, "the answers fill the screen")
    phone.evaluate("scrollTo(0, document.body.scrollHeight)")
    for name in ("A is better", "About the same", "B is better", "Both are bad", "Stop"):
        box = phone.get_by_role("button", name=name).bounding_box()
        assert box["height"] >= 44 and box["y"] >= 0 and box["y"] + box["height"] <= 844, (name, box)
    assert_fits(phone)
    phone.get_by_role("button", name="Stop").tap()
    expect(phone.locator("#progress")).to_contain_text("Both answers are finished")
    phone.get_by_role("button", name="A is better").tap()
    expect(phone.locator(".outcome")).to_contain_text("Your vote: A is better.")
    axe(phone)


def test_a_name_that_comes_in_pieces_is_never_in_a_frame_and_the_vote_is_held(arena, visitor):
    said = [
        "Well, I ",
        "am ",
        "He",
        0.2,
        "ron",
        0.2,
        ", a model ",
        "made by O",
        0.2,
        "penAI",
        0.2,
        ". The tide is ",
        "late.",
    ]
    arena.fake.answer = lambda body: said
    arena.ask(visitor)
    expect(visitor.locator("#progress")).to_contain_text("Both answers are finished")
    expect(visitor.locator("#text-a")).to_contain_text("I am (name hidden), a model made by (name hidden).")
    assert arena.frames and not any(part in f for f in arena.frames for part in ("Heron", "ron,", "OpenAI", "penAI"))
    visitor.reload()
    assert "Heron" not in visitor.content()
    visitor.keyboard.press("x")
    expect(visitor.locator(".outcome")).to_contain_text("held")
    expect(visitor.locator(".outcome")).to_contain_text("hidden until you voted")
    expect(visitor.locator("#text-a")).to_contain_text("I am Heron, a model made by OpenAI.")


@pytest.mark.thorough
def test_a_side_that_breaks_off_takes_no_vote_and_another_two_are_offered(arena, visitor):
    broken = json.dumps({"error": "out of memory"})
    arena.fake.answer = lambda body: (
        ["A few words. ", 0.5, f"data: {broken}\n\n".encode()] if body["model"].endswith("heron") else slowly()
    )
    arena.ask(visitor)
    expect(visitor.locator("#progress")).to_contain_text("One of the two answers could not be written")
    expect(visitor.get_by_role("button", name="A is better")).to_be_disabled()
    before, arena.fake.answer = visitor.url, lambda body: ["All is well."]
    visitor.keyboard.press("r")
    visitor.wait_for_url(lambda url: url != before and "/arena/" in url)
    expect(visitor.locator("#text-a")).to_contain_text("All is well.")


def test_a_reload_in_mid_stream_goes_on_and_asks_nobody_again(arena, visitor):
    arena.ask(visitor)
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    visitor.reload()
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    visitor.keyboard.press("a")
    expect(visitor.locator(".outcome")).to_contain_text("Your vote: A is better.")
    assert len(arena.fake.requests) == 2


def test_a_vote_that_another_process_takes_stops_the_writer_and_keeps_what_was_shown(arena, visitor):
    """The session's cookie holds for both ports, as it does behind a balancer."""
    arena.ask(visitor)
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    there = visitor.context.new_page()
    there.goto(visitor.url.replace(arena.url, arena.other))
    expect(there.get_by_role("button", name="A is better")).to_be_enabled()
    seen = " ".join(visitor.locator("#text-a").inner_text().split())
    there.keyboard.press("a")
    expect(there.locator(".outcome")).to_contain_text("Your vote: A is better.")
    kept = " ".join(there.locator("#text-a").inner_text().split())
    assert kept.startswith(seen[:-12]) and "Stopped here." in kept
    assert len(arena.fake.requests) == 2, "the other process asked the models again"
    expect(visitor.locator("#progress")).to_contain_text("Both answers are finished")
    visitor.keyboard.press("b")
    expect(visitor.locator(".outcome")).to_contain_text("Your vote: A is better.")


@pytest.mark.parametrize("socket", ["refused", pytest.param("silent", marks=pytest.mark.thorough)])
def test_without_websockets_the_answers_come_all_the_same(arena, visitor, socket):
    """A proxy refuses the upgrade, or lets it hang: the page asks for itself until both answers are finished."""
    if socket == "refused":
        visitor.add_init_script("WebSocket = class extends WebSocket { constructor() { super('ws://127.0.0.1:9/'); } }")
    else:
        visitor.add_init_script("WebSocket = class extends EventTarget { send() {} close() {} }")
    arena.fake.answer = lambda body: ["It is the moon, ", 6.0, "they say."]
    arena.ask(visitor)
    visitor.keyboard.press("c")
    visitor.keyboard.type("plain")
    expect(visitor.locator("#progress")).to_contain_text("No live connection")
    expect(visitor.locator("#text-a")).to_contain_text("they say.")
    expect(visitor.get_by_label("Comment on your vote")).to_be_focused()
    visitor.keyboard.type("er")
    visitor.get_by_role("button", name="A is better").click()
    expect(visitor.locator(".outcome")).to_contain_text("Your comment is saved")
    assert len(arena.fake.requests) == 2, "the models were asked again"


@pytest.mark.thorough
def test_without_javascript_one_stops_and_votes(arena, browser):
    context = browser.new_context(java_script_enabled=False)
    arena.fake.answer = lambda body: ["It is the moon, ", "they say."]
    page = context.new_page()
    page.goto(f"{arena.url}/p/everyday/arena/")
    page.get_by_label("Your question").fill("Why does the sea come and go?")
    page.get_by_role("button", name="Ask two models").click()
    expect(page.get_by_role("button", name="A is better")).to_be_enabled(timeout=20_000)
    page.get_by_role("button", name="A is better").click()
    expect(page.locator(".outcome")).to_contain_text("Your vote: A is better.")
    context.close()


@pytest.fixture
def held(arena) -> Iterator[threading.Event]:
    """Answers that begin when the test says so."""
    begin = threading.Event()

    def answer(body: dict) -> Iterator[str]:
        begin.wait(60)
        yield from ["```python\nprint('tide')\n```\n", "So it goes."]

    arena.fake.answer = answer
    yield begin
    begin.set()


@pytest.mark.thorough
def test_a_clock_counts_while_one_waits_and_stops_when_both_have_begun(arena, held, visitor):
    arena.ask(visitor)
    expect(visitor.locator("#waiting")).to_have_text("Asking both models")
    clock = visitor.locator(".waiting .clock")
    expect(clock).to_have_text(re.compile(r"^\d+ s$"))
    before = int(clock.inner_text().split()[0])
    expect(clock).not_to_have_text(f"{before} s")
    assert int(clock.inner_text().split()[0]) > before
    held.set()
    expect(visitor.locator("#waiting")).to_have_text("")
    expect(visitor.get_by_role("button", name="A is better")).to_be_enabled()
    expect(clock).not_to_be_visible()


def test_on_a_phone_one_answer_at_a_time_is_shown_by_its_letter(arena, held, phone):
    arena.ask(phone, touch=True)
    a, b = phone.get_by_label("Answer A", exact=True), phone.get_by_label("Answer B", exact=True)
    expect(a).to_be_visible()
    expect(b).not_to_be_visible()
    phone.get_by_role("radio", name="B").tap()
    expect(b).to_be_visible()
    expect(a).not_to_be_visible()
    held.set()
    expect(phone.get_by_role("button", name="A is better")).to_be_enabled()
    expect(b).to_be_visible()  # what streams in turns nothing back
    expect(a).not_to_be_visible()
    phone.get_by_role("radio", name="A").tap()
    expect(a).to_be_visible()
    expect(b).not_to_be_visible()
    phone.get_by_role("radio", name="B").tap()
    phone.get_by_role("button", name="B is better").tap()
    expect(phone.locator(".outcome")).to_contain_text("Your vote: B is better.")
    expect(phone.get_by_role("radio", name="B")).to_be_checked()  # the reveal brings the tabs in anew
    expect(a).not_to_be_visible()


def test_code_is_copied_by_its_button_and_by_hand_where_that_is_forbidden(arena, held, visitor):
    held.set()
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    arena.ask(visitor)
    copy = visitor.get_by_role("button", name="Copy the code").first
    copy.click()
    expect(visitor.get_by_role("button", name="Copied").first).to_be_visible()
    assert visitor.evaluate("navigator.clipboard.readText()").strip() == "print('tide')"
    expect(copy).to_have_text("Copy")
    visitor.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden')); }")
    copy.click()
    expect(visitor.get_by_role("button", name="Selected").first).to_be_visible()
    assert visitor.evaluate("getSelection().toString()").strip() == "print('tide')"
