"""What is entered on the annotation page is kept: over a reload, without a connection, past a session. Time, and
keys."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import Page, Route, expect

from tests.site.browser.judging import gone, open_form, press, ready, sent, shown, sign_in_on, stored
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.sites.judging_texts import LARGE
from tests.support.sites.widths import assert_fits

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
    expect(visitor.locator(".comment textarea")).to_be_visible()
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

    swallow(visitor, "**/judge/")
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


@pytest.mark.thorough
def test_what_was_sent_in_a_session_that_had_ended_is_sent_after_signing_in(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    press(visitor, "3")
    visitor.context.clear_cookies()
    press(visitor, "Enter")
    expect(visitor.locator("input[type=password]")).to_be_visible()
    sign_in_on(visitor, site, "dora")
    visitor.goto(f"{site.url}/p/judge-rate/judge/")
    gone(visitor, assignment)
    assert [row["stars"] for row in stored(site, assignment)["rating"]] == [3]


def test_a_session_that_ended_while_one_wrote_keeps_the_draft(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    press(visitor, "3")
    visitor.context.clear_cookies()
    visitor.reload()
    expect(visitor.locator("input[type=password]")).to_be_visible()
    sign_in_on(visitor, site, "dora")
    visitor.goto(f"{site.url}/p/judge-rate/judge/")
    assert shown(visitor) == assignment
    expect(visitor.locator("input[name=stars][value='3']")).to_be_checked()
    assert sent(site, visitor, lambda: press(visitor, "Enter"))["rating"][0]["stars"] == 3


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_an_earlier_judgement_is_changed_from_ones_history(site, forms, visitor):
    assignment = open_form(visitor, site, "compare", "uma")
    sent(site, visitor, lambda: press(visitor, "1"))
    visitor.goto(f"{site.url}/p/judge-compare/judge/{assignment}/")
    expect(visitor.locator("input[name=choice][value='model_a:3']")).to_be_checked()
    press(visitor, "b")
    assert shown(visitor) == assignment  # a choice is only sent at once where Undo can take it back
    press(visitor, "Enter")
    expect(visitor).to_have_url(f"{site.url}/p/judge-compare/judge/history/")
    assert [row["winner"] for row in stored(site, assignment)["comparison"]] == ["model_b"]


# --- without a connection ---

LOST = "Not sent: the server cannot be reached"
FLAGS = "select status from annotate_flag where assignment_id = ? order by id"


def acts(site, assignment: int) -> tuple:
    """State, reason of the skip, and how many flags."""
    ((state, reason),) = site.query("select state, skip_reason from annotate_assignment where id = ?", assignment)
    ((flags,),) = site.query("select count(*) from annotate_flag where assignment_id = ?", assignment)
    return state, reason, flags


def swallow(page: Page, address: str) -> None:
    """It arrives, and its answer does not."""

    def lose(route: Route) -> None:
        if route.request.method == "POST":
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route(address, lose)


def test_a_skip_without_a_connection_is_kept_and_sent_once(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "s", "1")
    expect(visitor.get_by_role("alert").filter(has_text=LOST)).to_contain_text("Your skip is kept in this browser")
    assert acts(site, assignment)[0] == "open"
    visitor.context.set_offline(False)
    gone(visitor, assignment)
    assert acts(site, assignment)[:2] == ("skipped", "I cannot judge this")
    expect(visitor.get_by_text(LOST)).not_to_be_visible()


def test_a_flag_without_a_connection_is_kept_and_sent_once_and_the_item_stays(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "3", "r", "2")
    expect(visitor.get_by_role("alert").filter(has_text=LOST)).to_contain_text("Your flag is kept")
    assert acts(site, assignment)[2] == 0
    visitor.context.set_offline(False)
    expect(visitor.get_by_text(LOST)).not_to_be_visible()
    assert acts(site, assignment) == ("open", "", 1)
    assert shown(visitor) == assignment
    expect(visitor.locator("input[name=stars][value='3']")).to_be_checked()
    sent(site, visitor, lambda: press(visitor, "Enter"))


def test_a_flag_taken_back_without_a_connection_is_kept_and_done_once(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    press(visitor, "r", "2")
    expect(visitor.get_by_text("Flagged: Personal data in it")).to_be_visible()
    visitor.context.set_offline(True)
    visitor.get_by_role("button", name="Take it back").click()
    expect(visitor.get_by_role("alert").filter(has_text=LOST)).to_contain_text("Your withdrawal of a flag is kept")
    expect(visitor.get_by_text("Flag taken back. This browser keeps that")).to_be_visible()
    visitor.context.set_offline(False)
    expect(visitor.get_by_text(LOST)).not_to_be_visible()
    assert [row[0] for row in site.query(FLAGS, assignment)][-1] == "withdrawn"
    sent(site, visitor, lambda: press(visitor, "3", "Enter"))


def test_an_undo_without_a_connection_is_kept_and_done_once(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    sent(site, visitor, lambda: press(visitor, "2", "Enter"))
    visitor.context.set_offline(True)
    press(visitor, "u")
    expect(visitor.get_by_role("alert").filter(has_text=LOST)).to_contain_text("Your undo is kept")
    visitor.context.set_offline(False)
    expect(visitor.locator(f"#task[data-assignment='{assignment}']")).to_be_visible()
    expect(visitor.locator("input[name=stars][value='2']")).to_be_checked()
    assert acts(site, assignment)[0] == "open"
    sent(site, visitor, lambda: press(visitor, "Enter"))


@pytest.mark.parametrize("name", plain_run_tries("undo", of=("skip", "flag", "undo")))
def test_an_act_whose_answer_was_lost_is_done_once(site, forms, visitor, name):
    second = open_form(visitor, site, "rate", "dora")
    first = None
    while first is None or acts(site, first)[2] or acts(site, second)[2]:  # past those that another test has flagged
        first = second
        sent(site, visitor, lambda: press(visitor, "2", "Enter"))
        second = shown(visitor)
    swallow(visitor, f"**/judge/{name}/")
    press(visitor, *{"skip": ("s", "1"), "flag": ("r", "1"), "undo": ("u",)}[name])
    expect(visitor.get_by_text(LOST)).to_be_visible()
    visitor.unroute(f"**/judge/{name}/")
    visitor.get_by_role("button", name="Try now").click()
    expect(visitor.get_by_text(LOST)).not_to_be_visible()
    about = first if name == "undo" else second
    assert (
        acts(site, about)
        == {
            "skip": ("skipped", "I cannot judge this", 0),
            "flag": ("open", "", 1),
            "undo": ("open", "", 0),
        }[name]
    )
    expect(visitor.locator(".task .error")).to_have_count(0)
    press(visitor, "y", "Enter")  # leaves nothing in hand that was taken back
    expect(visitor.locator("#task[data-assignment]")).not_to_have_attribute("data-assignment", str(about))


def test_a_page_reloaded_without_a_connection_loses_nothing(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "r", "1")
    expect(visitor.get_by_text("Your flag is kept")).to_be_visible()
    press(visitor, "Escape", "4", "m")
    visitor.keyboard.type("Kept over a reload.")
    press(visitor, "Control+Enter")
    expect(visitor.get_by_text("Your flag and your annotation are kept")).to_be_visible()
    with pytest.raises(Exception, match="ERR_INTERNET_DISCONNECTED"):
        visitor.reload()
    visitor.context.set_offline(False)
    visitor.goto(f"{site.url}/p/judge-rate/judge/")
    gone(visitor, assignment)
    (row,) = stored(site, assignment)["rating"]
    assert (row["stars"], row["comment"]) == (4, "Kept over a reload.")
    assert acts(site, assignment) == ("submitted", "", 1)


@pytest.mark.thorough
def test_a_browser_started_anew_sends_what_had_not_arrived(site, forms, visitor, browser):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "s", "2")
    expect(visitor.get_by_text(LOST)).to_be_visible()
    context = browser.new_context(storage_state=visitor.context.storage_state())
    page = context.new_page()
    page.goto(f"{site.url}/p/judge-rate/judge/")
    gone(page, assignment)
    assert acts(site, assignment)[:2] == ("skipped", "The prompt is unclear or broken")
    context.close()
    visitor.context.set_offline(False)  # the first one knows nothing of it, and its skip is the same one
    expect(visitor.get_by_text(LOST)).not_to_be_visible()


def test_what_has_not_gone_out_is_taken_back_by_undo(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "1", "Enter")
    expect(visitor.get_by_text(LOST)).to_be_visible()
    press(visitor, "u")
    expect(visitor.get_by_text(LOST)).not_to_be_visible()
    visitor.context.set_offline(False)
    press(visitor, "5")
    assert shown(visitor) == assignment and stored(site, assignment)["rating"] == []
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    assert [row["stars"] for row in rows["rating"]] == [5]


@pytest.mark.thorough
def test_other_words_than_those_that_arrived_are_refused_and_not_dropped_in_silence(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "dora")
    swallow(visitor, "**/judge/")
    press(visitor, "2", "Enter")
    expect(visitor.get_by_text(LOST)).to_be_visible()
    press(visitor, "u")
    assert shown(visitor) == assignment
    press(visitor, "5")
    visitor.unroute("**/judge/")
    press(visitor, "Enter")
    refused = "You have already submitted this item. Undo that to change it"
    expect(visitor.locator(".task .error")).to_contain_text(refused)
    expect(visitor.locator("input[name=stars][value='5']")).to_be_checked()
    assert [row["stars"] for row in stored(site, assignment)["rating"]] == [2]


@pytest.mark.thorough
def test_what_waits_is_sent_for_nobody_else(site, forms, visitor, browser):
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.context.set_offline(True)
    press(visitor, "1", "Enter")
    expect(visitor.get_by_text(LOST)).to_be_visible()
    context = browser.new_context(storage_state={**visitor.context.storage_state(), "cookies": []})
    page = context.new_page()
    open_form(page, site, "rate", "uma")
    page.wait_for_timeout(500)
    assert acts(site, assignment)[0] == "open"
    context.clear_cookies()
    sign_in_on(page, site, "dora")
    page.goto(f"{site.url}/p/judge-rate/judge/")
    gone(page, assignment)
    assert [row["stars"] for row in stored(site, assignment)["rating"]] == [1]
    context.close()


# --- an item whose time ran out ---


def run_out(site, assignment: int, *, given_away: bool = False) -> None:
    with closing(sqlite3.connect(site.data / "assay.sqlite3", timeout=20)) as database:
        state = "expired" if given_away else "open"
        database.execute(
            "update annotate_assignment set expires_at = datetime('now', '-1 minute'), state = ? where id = ?",
            (state, assignment),
        )
        database.commit()


def test_an_item_that_ran_out_while_one_wrote_is_taken_all_the_same(site, forms, visitor):
    assignment = open_form(visitor, site, "write", "dora")
    press(visitor, "w")
    visitor.keyboard.type("A long answer.")
    run_out(site, assignment)
    rows = sent(site, visitor, lambda: press(visitor, "Control+Enter"))
    assert rows["demonstration"][0]["text"] == "A long answer."


def test_what_was_begun_on_an_item_that_ran_out_is_offered_and_found_again(site, forms, visitor):
    assignment = open_form(visitor, site, "write", "dora")
    press(visitor, "w")
    visitor.keyboard.type("Half of an answer")
    run_out(site, assignment, given_away=True)
    visitor.reload()
    assert shown(visitor) != assignment
    expect(visitor.get_by_text("You began another item")).to_be_visible()
    visitor.get_by_role("link", name="Go back to it").click()
    expect(visitor.locator(f"#task[data-assignment='{assignment}']")).to_be_visible()
    expect(visitor.locator("textarea[name=text]")).to_have_value("Half of an answer")
    expect(visitor.get_by_text("You began another item")).not_to_be_visible()
    rows = sent(site, visitor, lambda: visitor.locator("button.send").click())
    assert rows["demonstration"][0]["text"] == "Half of an answer"
    visitor.goto(f"{site.url}/p/judge-write/judge/")
    expect(visitor.get_by_text("You began another item")).not_to_be_visible()


def test_an_item_is_kept_while_somebody_works_on_it_and_no_longer(site, forms, visitor):
    visitor.clock.install()
    kept: list[str] = []
    visitor.on("request", lambda request: kept.append(request.url) if request.url.endswith("/keep/") else None)
    open_form(visitor, site, "write", "dora")
    for _ in range(12):
        visitor.clock.run_for(60_000)
        visitor.mouse.move(300 + len(kept), 300)
    assert len(kept) == 1
    visitor.clock.run_for(3_600_000)
    assert len(kept) == 1


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


def test_whoever_corrects_an_annotation_is_timed_from_where_they_were(site, forms, visitor):
    visitor.clock.install()
    assignment = open_form(visitor, site, "rate", "dora")
    visitor.clock.run_for(20_000)
    press(visitor, "Enter")
    expect(visitor.locator(".task .error")).to_contain_text("Rate the answer")
    assert 20 <= seconds(visitor) < 25, "it was refused"
    press(visitor, "5")
    visitor.reload()
    assert 20 <= seconds(visitor) < 25, "once, from the draft or from the page"
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    visitor.clock.run_for(1_000)
    press(visitor, "u")
    expect(visitor.locator(f"#task[data-assignment='{assignment}']")).to_be_visible()
    assert rows["rating"][0]["seconds"] <= seconds(visitor) < 30, "it was taken back"


# --- keys ---


def test_keys_never_fire_while_somebody_types(site, forms, visitor):
    assignment = open_form(visitor, site, "compare", "uma")
    press(visitor, "m")
    visitor.keyboard.type("1 2 3 a b s u x ? g p")
    assert shown(visitor) == assignment
    expect(visitor.locator(".comment textarea")).to_have_value("1 2 3 a b s u x ? g p")
    expect(visitor.locator("details.above[open]")).to_have_count(0)
    expect(visitor.get_by_role("dialog")).to_have_count(0)


@pytest.mark.thorough
def test_ones_own_key_stands_on_the_button_and_works(site, forms, visitor):
    open_form(visitor, site, "compare", "uma")
    visitor.goto(f"{site.url}/shortcuts/")
    visitor.get_by_label("A is much better").press("m")
    visitor.get_by_role("button", name="Save").click()
    expect(visitor.get_by_text("M is already the key of “Comment”")).to_be_visible()
    visitor.wait_for_load_state()  # before its script runs a key is spelled, not pressed
    visitor.get_by_label("A is much better").press("z")
    visitor.get_by_role("button", name="Save").click()
    expect(visitor.get_by_text("Your keys are saved")).to_be_visible()
    visitor.goto(f"{site.url}/p/judge-compare/judge/")
    expect(visitor.locator("label", has_text="A is much better").locator("kbd")).to_have_text("Z")
    rows = sent(site, visitor, lambda: press(visitor, "z"))
    assert rows["comparison"][0]["winner"] == "model_a"
    visitor.goto(f"{site.url}/shortcuts/")
    visitor.get_by_text("Reset all to the defaults").click()
    visitor.get_by_role("button", name="Reset all", exact=True).click()
    expect(visitor.get_by_label("A is much better")).to_have_value("1")


def test_a_keyboard_of_another_alphabet_works_by_the_keys_places(site, forms, visitor):
    open_form(visitor, site, "rate", "uma")
    ready(visitor)
    for key, code in (("н", "KeyY"), ("é", "Digit2")):
        pressed = f"new KeyboardEvent('keydown', {{key: '{key}', code: '{code}', bubbles: true}})"
        visitor.evaluate(f"document.body.dispatchEvent({pressed})")
    expect(visitor.locator("input[name=thumbs][value=up]")).to_be_checked()
    expect(visitor.locator("input[name=stars][value='2']")).to_be_checked()


# --- large and hostile text ---


@pytest.mark.thorough
def test_a_hundred_kilobytes_lay_out_quickly_and_stay_in_their_column(site, forms, visitor):
    open_form(visitor, site, "large", "uma")
    assert_fits(visitor)
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
