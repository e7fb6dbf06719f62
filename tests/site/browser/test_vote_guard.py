"""The puzzle in a real browser's worker, and the page of held votes as it is seen and read aloud."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from annotate.arena.vote_guard import actions as vote_guard
from annotate.core.visitors import visitor_of_session
from annotate.models import Comparison, Hold, Project, VoteTrace
from tests.support import factories
from tests.support.annotate.voting import cast, make_battle
from tests.support.sites.widths import assert_fits

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def of_this_browser(page: Page, client, url: str) -> str:
    """A session of the site, set as the browser's cookie; who its visitor is."""
    session = client.session
    session.create()
    page.context.add_cookies([{"name": "sessionid", "value": session.session_key, "url": url}])
    return visitor_of_session(session)


def test_the_puzzle_is_solved_by_itself_and_the_vote_counts(visitor: Page, live_server, client, axe: Callable):
    project = factories.make_project(proof_of_work=True)
    pair = [factories.make_model(), factories.make_model()]
    battle = make_battle(project, pair, visitor=of_this_browser(visitor, client, live_server.url))
    visitor.goto(f"{live_server.url}/p/{project.slug}/arena/{battle.token}/")
    axe(visitor)
    visitor.get_by_role("button", name="A is better").click()  # at once: it waits for the worker
    expect(visitor.get_by_text("Counted for the ranking.")).to_be_visible()
    assert Comparison.objects.get(battle=battle).status == "counted"


@pytest.mark.parametrize("broken", ["the server", "the worker"])
def test_when_the_puzzle_breaks_the_vote_is_taken_and_held(visitor: Page, live_server, client, broken):
    project = factories.make_project(proof_of_work=True)
    pair = [factories.make_model(), factories.make_model()]
    battle = make_battle(project, pair, visitor=of_this_browser(visitor, client, live_server.url))
    if broken == "the server":
        visitor.route("**/proof/", lambda route: route.fulfill(status=404, body="gone"))
    else:
        visitor.add_init_script("window.Worker = class { constructor() { throw new Error('no workers here'); } };")
    visitor.goto(f"{live_server.url}/p/{project.slug}/arena/{battle.token}/")
    visitor.get_by_role("button", name="A is better").click()
    expect(visitor.get_by_text("this vote is held")).to_be_visible()
    assert Comparison.objects.get(battle=battle).battle.trace.held_for == Hold.UNSOLVED


def filled(project: Project) -> None:
    pair = [factories.make_model(name="SmolLM2-135M, tuned on feedback"), factories.make_model(name="SmolLM2-135M")]
    for n in range(30):
        reason = "a model named itself in its answer" if n % 6 == 0 else ""
        cast(make_battle(project, pair, visitor=f"{n:064}", hold_reason=reason), address=f"{n:032}")


@pytest.mark.thorough
def test_the_page_of_held_votes_is_read_without_a_violation(visitor: Page, live_server, client, axe, tmp_path):
    """On a wide screen and on a phone, three votes each."""
    project = factories.make_project(name="Arena")
    filled(project)
    client.force_login(factories.make_user(project, role="manager"))
    cookie = client.cookies["sessionid"].value
    visitor.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    counted = [*Comparison.objects.filter(status="counted").values_list("pk", flat=True)[:6]]
    for width, votes in ((1280, counted[:3]), (390, counted[3:])):
        vote_guard.hold(rows=Comparison.objects.filter(pk__in=votes), kind=Hold.PATTERN)
        visitor.set_viewport_size({"width": width, "height": 900})
        visitor.goto(f"{live_server.url}/p/{project.slug}/held/")
        axe(visitor)
        assert_fits(visitor)
        visitor.screenshot(path=tmp_path / f"held-{width}.png", full_page=True)
        visitor.get_by_role("link", name="a voter unlike all others").click()
        visitor.get_by_label("held for this reason, on all pages").check()
        visitor.get_by_role("textbox", name="Reason").fill("A class, asked about it.")
        visitor.get_by_role("button", name="Release").click()
        expect(visitor.get_by_text("3 votes released")).to_be_visible()
        released = VoteTrace.objects.filter(held_for=Hold.PATTERN, battle__comparison__status="counted")
        assert released.filter(battle__comparison__in=votes).count() == 3
