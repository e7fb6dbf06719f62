"""The bar, the second line and the way back: what each role is shown, on pages of a project and beside it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.core.permissions import ROLES_FOR, can, held_rights
from annotate.core.rights import is_met
from annotate.core.site_map.present import address_of, each_entry, navigation, right_of
from tests.support.factories import make_contestant, make_guideline, make_project, make_user, sign_in
from tests.support.html_page import HtmlPage
from training.models import Run

pytestmark = pytest.mark.django_db
SHORT = ["Annotate", "Arena", "Leaderboard", "History"]
GROUPS = ["Overview", "Annotate", "Data", "Train", "Models", "Evaluate", "Team", "Settings"]


def shown(project, user, page: str = "project"):
    return navigation(project, user, reverse(page, args=[project.slug]), page)


def words(links) -> list[str]:
    return [link.words for link in links]


@pytest.fixture
def project():
    return make_project(asks_attacks=True)


def test_a_visitor_sees_arena_and_leaderboard(client, project):
    response = client.get(reverse("leaderboard", args=[project.slug]))
    assert words(response.context["map"].main) == ["Arena", "Leaderboard"]
    assert words(response.context["map"].pages) == [
        "Leaderboard",
        "Benchmarks",
        "Experiments",
        "Rounds",
        "Promotion",
        "Next questions",
        "Cost",
    ]


def test_an_annotator_sees_no_researcher_s_page(client, project):
    sign_in(client, project, "annotator")
    map_ = client.get(reverse("annotate-history", args=[project.slug])).context["map"]
    assert words(map_.main) == SHORT
    assert words(map_.pages) == ["Work", "Arena", "Red team", "Attacks", "My history", "My quality", "My keys"]
    menu = [link.words for _, links in map_.menu for link in links]
    assert menu == ["Overview", *SHORT, "Red team", "Attacks", "My quality", "My keys"]


@pytest.mark.parametrize("role", ["researcher", "manager"])
def test_researchers_and_managers_see_all_groups(project, role):
    map_ = shown(project, make_user(project, role=role))
    assert words(map_.main) == GROUPS
    assert [group for group, _ in map_.menu] == GROUPS


def test_a_reviewer_sees_the_groups_that_hold_something_for_them(project):
    reviewer = make_user(project, role="reviewer")
    assert words(shown(project, reviewer).main) == ["Overview", "Annotate", "Data", "Evaluate", "Team", "Settings"]
    assert words(shown(project, reviewer, "quality").pages) == ["Quality", "Disagreements"]


@pytest.mark.parametrize("who", ["visitor", "stranger", "annotator", "reviewer", "researcher", "manager", "superuser"])
@pytest.mark.parametrize("is_public", [True, False])
def test_the_map_lets_nobody_see_what_the_view_refuses(who, is_public):
    project = make_project(is_public=is_public)
    people = {"visitor": AnonymousUser, "stranger": make_user, "superuser": lambda: make_user(is_superuser=True)}
    user = people.get(who, lambda: make_user(project, role=who))()
    held = held_rights(user, project)
    assert {action for action in ("read", *ROLES_FOR) if can(user, action, project)} == held & {"read", *ROLES_FOR}
    rows = [link.address for _, links in shown(project, user).menu for link in links]
    refused = [entry.page for _, entry in each_entry() if not is_met(right_of(entry.page), held)]
    assert not {address_of(page, project.slug) for page in refused} & set(rows)


def test_one_page_is_current_in_the_bar_and_one_in_the_second_line(client, project):
    sign_in(client, project, "manager")
    page = HtmlPage(client.get(reverse("add-data", args=[project.slug])).content.decode())
    map_ = client.get(reverse("add-data", args=[project.slug])).context["map"]
    assert [(link.words, link.current) for link in map_.main if link.current] == [("Data", "true")]
    assert [(link.words, link.current) for link in map_.pages if link.current] == [("Add data", "page")]
    assert map_.trail == () and page.links


def test_a_page_below_leads_back(client, project):
    sign_in(client, project, "researcher")
    model = make_contestant(project).model
    run = Run.objects.create(project=project, kind="sft", name="run", parent=model, state="succeeded")
    map_ = client.get(reverse("run", args=[run.pk])).context["map"]
    assert words(map_.trail) == ["Runs"] and map_.trail[0].address == reverse("runs", args=[project.slug])
    html = client.get(reverse("lineage", args=[model.pk])).content.decode()
    trail = html.partition('aria-label="Breadcrumb"')[2].partition("</nav>")[0]
    assert reverse("models", args=[project.slug]) in trail and reverse("model", args=[model.pk]) in trail


def test_who_follows_a_link_to_a_page_outside_their_bar_still_sees_where_they_are(client, project):
    map_ = client.get(reverse("runs", args=[project.slug])).context["map"]
    assert words(map_.pages) == ["Runs", "Compare"] and map_.group == "Train"


def test_red_teaming_corpora_and_reviews_are_shown_where_the_project_has_them():
    project = make_project()
    manager = make_user(project, role="manager")

    def pages():
        return {link.words for _, links in shown(project, manager).menu for link in links}

    assert not pages() & {"Red team", "Attacks", "Reviews", "Corpora"}
    project.asks_attacks = project.from_scratch = True
    project.review_percent = 10
    assert pages() >= {"Red team", "Attacks", "Reviews", "Corpora"}


def test_one_s_own_keys_keep_the_bar_of_the_project_that_one_came_from(client, project):
    make_guideline(project)
    sign_in(client, project, "annotator")
    history = client.get(reverse("annotate-history", args=[project.slug]))
    keys = next(link for link in history.context["map"].pages if link.words == "My keys")
    map_ = client.get(keys.address).context["map"]
    assert [link.words for link in map_.pages if link.current == "page"] == ["My keys"]
    private = make_project(is_public=False)
    back = reverse("annotate", args=[private.slug])
    assert not client.get(reverse("shortcuts"), {"back": back}).context["map"], "nobody learns that it is there"


def test_staff_who_are_no_members_get_no_keys_that_lead_back_to_a_page_that_refuses_them(project):
    pages = shown(project, make_user(is_staff=True), "arena").pages
    assert "My keys" not in words(pages) and "Arena" in words(pages)


def test_what_is_shown_in_place_of_the_work_has_no_way_back_to_the_work(client, project):
    make_guideline(project)
    sign_in(client, project, "annotator")
    response = client.get(reverse("annotate", args=[project.slug]), follow=True)
    assert response.redirect_chain[-1][0] == reverse("reading", args=[project.slug])
    map_ = response.context["map"]
    assert map_.trail == () and [link.words for link in map_.pages if link.current] == ["Work"]


def test_a_page_of_no_project_has_no_map(client):
    assert client.get("/").context["map"] is None


def test_the_bar_asks_the_database_for_one_row(project):
    user = make_user(project, role="manager")
    with CaptureQueriesContext(connection) as seen:
        shown(project, user)
    assert len(seen) <= 1
