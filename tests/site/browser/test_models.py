"""Models in a real browser against a real model server: a conversation with two at once, and one that is loaded."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow


def answer_at_length(page: Page) -> None:
    """Have answers last for seconds: at temperature 1 these models end one in forty within the first half second."""
    page.get_by_label("Max tokens").fill("2048")
    page.get_by_label("Temperature").fill("0")


def test_two_models_answer_side_by_side_until_one_stops_them(site, sign_in):
    page = sign_in("rita")
    lengths: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: lengths.append(len(frame))))
    heron, kestrel = site.made["models"]
    page.goto(f"{site.url}/models/{heron}/playground/?beside={kestrel}")
    page.get_by_text("Sampling options").click()
    page.get_by_label("Max tokens").fill("64")
    page.get_by_label("Your question").fill("What is a lighthouse for?")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()
    first = page.get_by_label("Question 1")
    expect(first.locator("#answer-0-a .figures")).to_contain_text("tokens")
    expect(first.locator("#answer-0-b .figures")).to_contain_text("seed")
    assert len(lengths) > 3, "the answers arrived whole, not piece by piece"
    expect(page.get_by_label("Your question")).to_have_value("")

    answer_at_length(page)
    page.get_by_label("Your question").fill("And at night?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer-1-a .cursor")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#answer-1-a .figures")).to_contain_text("stopped by you")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()

    page.get_by_label("Compare with").select_option("no other model")
    page.get_by_role("button", name="Continue with both").click()
    expect(page.get_by_label("Question 2").locator("article")).to_have_count(1)  # what was said came along
    expect(page.locator("#answer-0-b")).to_have_count(0)

    page.wait_for_load_state()  # the new page's script listens by then
    first.get_by_role("button", name="Save the question as a prompt").click()
    expect(page.locator("#kept")).to_contain_text("Saved as prompt")


def test_stop_is_heard_though_the_growing_answer_moves_it_away_from_the_pointer(site, sign_in):
    page = sign_in("rita")
    page.goto(f"{site.url}/models/{site.made['models'][0]}/playground/")
    page.get_by_text("Sampling options").click()
    answer_at_length(page)
    page.get_by_label("Your question").fill("What is a lighthouse for?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer-0-a .cursor")).to_be_visible()
    stop = page.get_by_role("button", name="Stop")
    note = "(event) => (window.isOnStop = !!event.target.closest('#doing [ws-send]'))"
    page.evaluate(f"addEventListener('pointerdown', {note}, true)")
    while True:  # the answer may move it away between our look and our press
        box = stop.bounding_box()
        assert box is not None, "the answer ended before it was pressed"
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        if page.evaluate("window.isOnStop"):
            break
        page.mouse.up()
    while stop.bounding_box()["y"] <= box["y"] + box["height"]:
        assert stop.is_visible(), "the answer ended before it had moved anything"
    page.mouse.up()
    expect(page.locator("#answer-0-a .figures")).to_contain_text("stopped by you")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()


def test_a_model_is_loaded_before_anybody_waits_for_it(site, sign_in):
    page = sign_in("rita")
    page.goto(f"{site.url}/models/{site.made['models'][0]}/")
    tag = page.locator("#serving .tag")
    expect(tag).to_be_visible()
    if tag.inner_text() == "idle":
        page.get_by_role("button", name="Load now").click()
    expect(tag).to_have_text("loaded", timeout=60_000)
