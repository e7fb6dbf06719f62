"""What is entered on the judge page is kept: over a reload, without a connection, past a session. Time, and keys."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.judging import gone, open_form, press, sent, shown, sign_in_on, stored
from tests.judging_texts import LARGE

pytestmark = pytest.mark.slow


def test_every_field_of_a_rating_survives_a_reload(site, forms, visitor):
    open_form(visitor, site, "aspects", "dora")
    press(visitor, "4", "3", "m")
    visitor.keyboard.type("Nearly.")
    press(visitor, "Escape", "w")
    visitor.locator("textarea[name=text]").fill("Better so.")
    visitor.reload()
    expect(visitor.locator("input[name=stars][value='4']")).to_be_checked()
    expect(visitor.locator("input[name=aspect-helpful][value='3']")).to_be_checked()
    expect(visitor.locator("textarea[name=comment]")).to_be_visible()
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    assert rows["rating"][0]["comment"] == "Nearly." and rows["demonstration"][0]["text"] == "Better so."


def test_places_and_marks_survive_a_reload(site, forms, visitor):
    open_form(visitor, site, "rank", "dora")
    press(visitor, "2", "1")
    visitor.reload()
    expect(visitor.locator(".order")).to_contain_text("B › A")
    visitor.goto(f"{site.url}/p/judge-scripts/judge/")
    press(visitor, "a", "ArrowRight", "2")
    visitor.reload()
    expect(visitor.locator(".marks li")).to_contain_text("Unclear")
    expect(visitor.locator(".raw mark")).to_have_text("Stale")


def test_a_lost_connection_keeps_the_work_and_sends_it_once(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "5", "Enter")
    expect(visitor.get_by_text("Not sent: the server cannot be reached")).to_be_visible()
    assert stored(site, assignment)["rating"] == []
    visitor.context.set_offline(False)
    gone(visitor, assignment)
    assert [row["stars"] for row in stored(site, assignment)["rating"]] == [5]


def test_an_answer_lost_on_its_way_back_is_not_stored_twice_even_over_a_reload(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")

    def swallow(route: Route) -> None:
        if route.request.method == "POST":
            route.fetch()  # it arrives, and its answer does not
            route.abort()
        else:
            route.continue_()

    visitor.route("**/judge/", swallow)
    press(visitor, "2", "Enter")
    expect(visitor.get_by_text("Not sent: the server cannot be reached")).to_be_visible()
    visitor.unroute("**/judge/")
    visitor.goto(f"{site.url}/p/judge-rate/judge/")
    expect(visitor.locator("#task[data-assignment]")).to_be_visible()
    assert shown(visitor) != assignment
    assert [row["stars"] for row in stored(site, assignment)["rating"]] == [2]


def test_a_draft_that_waits_is_sent_after_a_reload(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.route("**/judge/", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    press(visitor, "1", "Enter")
    expect(visitor.get_by_text("Not sent: the server cannot be reached")).to_be_visible()
    visitor.unroute("**/judge/")
    visitor.reload()
    gone(visitor, assignment)
    assert [row["stars"] for row in stored(site, assignment)["rating"]] == [1]


def test_a_session_that_ended_keeps_the_draft(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    press(visitor, "3")
    visitor.context.clear_cookies()
    press(visitor, "Enter")
    expect(visitor.locator("input[type=password]")).to_be_visible()
    sign_in_on(visitor, site, "dora")
    visitor.goto(f"{site.url}/p/judge-rate/judge/")
    assert shown(visitor) == assignment
    expect(visitor.locator("input[name=stars][value='3']")).to_be_checked()
    assert sent(site, visitor, lambda: press(visitor, "Enter"))["rating"][0]["stars"] == 3


def test_undo_brings_places_back(site, forms, visitor):
    assignment = open_form(visitor, site, "rank", "uma")
    press(visitor, "1", "2", "3", "4", "5", "6")
    sent(site, visitor, lambda: press(visitor, "Enter"))
    press(visitor, "u")
    expect(visitor.locator(f"#task[data-assignment='{assignment}']")).to_be_visible()
    expect(visitor.locator(".order")).to_have_text("A › B › C › D › E › F")


def test_undo_leaves_what_was_entered_for_the_item_after_it(site, forms, visitor):
    first = open_form(visitor, site, "rate", "uma")
    sent(site, visitor, lambda: press(visitor, "1", "Enter"))
    second = shown(visitor)
    press(visitor, "4", "u")
    expect(visitor.locator(f"#task[data-assignment='{first}']")).to_be_visible()
    sent(site, visitor, lambda: press(visitor, "2", "Enter"))
    assert shown(visitor) == second
    expect(visitor.locator("input[name=stars][value='4']")).to_be_checked()


def test_an_earlier_judgement_is_changed_from_ones_history(site, forms, visitor):
    assignment = open_form(visitor, site, "compare", "uma")
    sent(site, visitor, lambda: press(visitor, "1"))
    visitor.goto(f"{site.url}/p/judge-compare/judge/{assignment}/")
    expect(visitor.locator("input[name=choice][value='model_a:3']")).to_be_checked()
    press(visitor, "4")
    assert shown(visitor) == assignment  # a choice is only sent at once where Undo can take it back
    press(visitor, "Enter")
    expect(visitor).to_have_url(f"{site.url}/p/judge-compare/judge/history/")
    assert [row["winner"] for row in stored(site, assignment)["comparison"]] == ["model_b"]


# --- time ---


def seconds(page: Page) -> float:
    return page.evaluate("Judge.seconds()")


def test_time_counts_reading_and_not_lunch(site, forms, visitor):
    visitor.clock.install()
    open_form(visitor, site, "rate", "uma")
    before = seconds(visitor)
    visitor.clock.run_for(20_000)
    visitor.mouse.move(300, 300)
    assert 20 <= seconds(visitor) - before < 25
    visitor.clock.run_for(3_600_000)
    visitor.mouse.move(310, 310)
    assert 50 <= seconds(visitor) - before < 55  # the reading pause, and no more
    visitor.evaluate(
        """() => { Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange")); }"""
    )
    visitor.clock.run_for(25_000)
    assert 50 <= seconds(visitor) - before < 55  # nor while the page is not in view


# --- keys ---


def test_keys_never_fire_while_somebody_types(site, forms, visitor):
    assignment = open_form(visitor, site, "compare", "uma")
    press(visitor, "m")
    visitor.keyboard.type("1 2 3 a b s u x ? g p")
    assert shown(visitor) == assignment
    expect(visitor.locator("textarea[name=comment]")).to_have_value("1 2 3 a b s u x ? g p")
    expect(visitor.locator("details.above[open]")).to_have_count(0)
    expect(visitor.get_by_role("dialog")).to_have_count(0)


def test_ones_own_key_stands_on_the_button_and_works(site, forms, visitor):
    open_form(visitor, site, "compare", "uma")
    visitor.goto(f"{site.url}/shortcuts/")
    visitor.get_by_label("A is much better").press("m")
    visitor.get_by_role("button", name="Save").click()
    expect(visitor.get_by_text("M is the key of “Comment” already")).to_be_visible()
    visitor.get_by_label("A is much better").press("z")
    visitor.get_by_role("button", name="Save").click()
    expect(visitor.get_by_text("Your keys are saved")).to_be_visible()
    visitor.goto(f"{site.url}/p/judge-compare/judge/")
    expect(visitor.locator("label", has_text="A is much better").locator("kbd")).to_have_text("Z")
    rows = sent(site, visitor, lambda: press(visitor, "z"))
    assert rows["comparison"][0]["winner"] == "model_a"
    visitor.goto(f"{site.url}/shortcuts/")
    visitor.get_by_role("button", name="Reset all to the defaults").click()
    expect(visitor.get_by_label("A is much better")).to_have_value("1")


def test_a_keyboard_of_another_alphabet_works_by_the_keys_places(site, forms, visitor):
    open_form(visitor, site, "rate", "uma")
    for key, code in (("н", "KeyY"), ("é", "Digit2")):
        pressed = f"new KeyboardEvent('keydown', {{key: '{key}', code: '{code}', bubbles: true}})"
        visitor.evaluate(f"document.body.dispatchEvent({pressed})")
    expect(visitor.locator("input[name=thumbs][value=up]")).to_be_checked()
    expect(visitor.locator("input[name=stars][value='2']")).to_be_checked()


# --- large and hostile text ---


def test_a_hundred_kilobytes_lay_out_quickly_and_stay_in_their_column(site, forms, visitor):
    open_form(visitor, site, "large", "uma")
    assert visitor.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visitor.locator(".raw").evaluate("one => one.textContent") == LARGE
    expect(visitor.locator(".send")).to_be_in_viewport()
    took = visitor.evaluate(
        """() => { const before = performance.now(); Judge.showPlain(false); document.body.offsetHeight;
        return performance.now() - before; }"""
    )
    assert took < 2000
    press(visitor, "p", "a", "ArrowRight", "Shift+ArrowRight", "1", "2")
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    assert [(row["start"], row["end"], row["text"]) for row in rows["span"]] == [(0, 6, "Line 0")]
