"""The next items are in the page already: they are shown at once, without a connection too, and nothing is lost or sent
twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import Page, Route, expect

from tests.site.browser.judging import gone, left, open_form, press, shown, stored
from tests.support.processes import until

pytestmark = pytest.mark.slow
FORM = "turns"  # compares two answers


def items_are_ahead(page: Page) -> None:
    until(lambda: page.evaluate("Judge.ahead.isReady()"), what="the next items are there")


def open_with_items_ahead(page: Page, site) -> int:
    assignment = open_form(page, site, FORM, "dora")
    items_are_ahead(page)
    return assignment


def press_on(page: Page, key: str) -> int:
    """Press a key that sends the item, and return which item that was, once the next one is shown."""
    assignment = shown(page)
    press(page, key)
    left(page, assignment)
    return assignment


def comparisons(site, assignment: int) -> list[tuple]:
    return [(row["winner"], row["strength"]) for row in stored(site, assignment)["comparison"]]


def waiting(site, assignment: int) -> list[int]:
    """Return the items that wait for who was shown this one."""
    sql = (
        "select a.id from annotate_assignment a join annotate_assignment b on a.user_id = b.user_id "
        "and a.project_id = b.project_id where b.id = ? and a.is_ahead and a.state = 'open' order by a.id"
    )
    return [pk for (pk,) in site.query(sql, assignment)]


class Held:
    """What the page sends of its items from now on, held back until it is released."""

    def __init__(self, page: Page) -> None:
        self.routes: list[Route] = []
        self.is_over = False
        page.route("**/judge/", self._take)

    def _take(self, route: Route) -> None:
        if self.is_over or route.request.method != "POST":
            route.continue_()
        else:
            self.routes.append(route)

    def release(self) -> None:
        self.is_over = True
        for route in self.routes:
            route.continue_()


def test_the_next_item_is_shown_before_anything_is_answered(site, forms, visitor):
    open_with_items_ahead(visitor, site)
    held, asked = Held(visitor), []
    visitor.on("request", lambda request: asked.append(request.url))
    first = press_on(visitor, "1")
    assert shown(visitor) != first and visitor.evaluate("Judge.seconds()") < 5
    second = press_on(visitor, "6")
    assert len(asked) == len(held.routes) == 1, "nothing was asked but to store the first one, which has no answer yet"
    assert comparisons(site, first) == comparisons(site, second) == []
    held.release()
    gone(visitor, second)
    assert comparisons(site, first) == [("model_a", 3)] and comparisons(site, second) == [("model_b", 2)]
    expect(visitor.locator("#sent")).to_contain_text("Sent: B is better")


def test_two_items_without_a_connection_are_stored_once_as_they_were_pressed(site, forms, visitor):
    open_with_items_ahead(visitor, site)
    visitor.context.set_offline(True)
    done = [press_on(visitor, key) for key in ("1", "x")]
    expect(visitor.get_by_role("alert")).to_contain_text("Your 2 annotations are kept in this browser")
    third = shown(visitor)
    assert [comparisons(site, each) for each in done] == [[], []]
    visitor.context.set_offline(False)
    gone(visitor, done[-1])
    assert [comparisons(site, each) for each in done] == [[("model_a", 3)], [("both_bad", None)]]
    assert all(0 < row["seconds"] < 30 for each in done for row in stored(site, each)["comparison"])
    assert shown(visitor) == third
    items_are_ahead(visitor)
    press_on(visitor, "7")
    gone(visitor, third)
    assert comparisons(site, third) == [("model_b", 3)]


@pytest.mark.thorough
def test_a_skip_without_a_connection_goes_on_and_undo_takes_it_back(site, forms, visitor):
    first = open_with_items_ahead(visitor, site)
    visitor.context.set_offline(True)
    press(visitor, "s", "1")
    left(visitor, first)
    second = shown(visitor)
    press(visitor, "u")
    expect(visitor.locator(f"#task[data-assignment='{first}']")).to_be_visible()
    expect(visitor.locator("details.above[open]")).to_have_count(0)
    press_on(visitor, "5")
    assert shown(visitor) == second
    visitor.context.set_offline(False)
    gone(visitor, first)
    assert comparisons(site, first) == [("model_b", 1)]


def test_undo_of_what_is_on_its_way_undoes_it_there(site, forms, visitor):
    first = open_with_items_ahead(visitor, site)
    held = Held(visitor)
    press_on(visitor, "2")
    second = shown(visitor)
    press(visitor, "u")
    held.release()
    expect(visitor.locator(f"#task[data-assignment='{first}']")).to_be_visible()
    expect(visitor.locator("input[name=choice][value='model_a:2']")).to_be_checked()
    assert comparisons(site, first) == []
    items_are_ahead(visitor)
    press_on(visitor, "4")
    assert shown(visitor) == second, "what was shown before comes next"


def test_an_item_that_left_the_work_meanwhile_is_replaced(site, forms, visitor):
    first = open_with_items_ahead(visitor, site)
    following = waiting(site, first)[0]
    with closing(sqlite3.connect(site.data / "assay.sqlite3", timeout=20)) as database:
        database.execute("update annotate_assignment set state = 'taken out' where id = ?", (following,))
        database.commit()
    press_on(visitor, "1")
    gone(visitor, following)
    assert comparisons(site, first) == [("model_a", 3)]


def test_what_was_not_shown_goes_back_when_the_page_is_left(site, forms, visitor):
    assignment = open_with_items_ahead(visitor, site)
    given = waiting(site, assignment)
    assert len(given) == 3
    visitor.goto(f"{site.url}/p/judge-{FORM}/judge/history/")
    until(lambda: waiting(site, assignment) == [], what="nobody holds what was not shown")
    assert open_with_items_ahead(visitor, site) == assignment
    press_on(visitor, "1")
    assert shown(visitor) in given, "nobody has seen it, so it comes first"
