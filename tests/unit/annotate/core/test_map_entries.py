"""The map of the site: each page is in it once, each entry leads to a page, and nothing has two places."""

from __future__ import annotations

import re

import pytest

from annotate.core.rights import RIGHTS
from annotate.core.site_map.map_entries import GROUPS, OUTSIDE, SHORT_BAR
from annotate.core.site_map.present import address_of, each_entry, is_personal, place_of, right_of
from annotate.guides.guide_files import guide_names
from annotate.models import Project
from config.addresses import addresses
from config.urls import OTHERS, urlpatterns

ENTRIES = [entry for _, entry in each_entry()]
PAGES = [each for each in addresses(urlpatterns, OTHERS) if "get" in (each.rights or {}) and not each.is_of_api]


def filled(route: str) -> str:
    return "/" + re.sub(r"<\w+>", "7", route.replace("<slug>", "a-project"))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.page)
def test_an_entry_leads_to_a_page_and_to_a_guide_that_are_there(entry):
    address = address_of(entry.page, "a-project")
    assert address, f"no address is called {entry.page}"
    assert not entry.guide or entry.guide in guide_names()
    assert not entry.audience or entry.audience in RIGHTS
    assert not entry.switch or hasattr(Project, entry.switch)
    place = place_of(address.partition("?")[0], "a-project", entry.page)
    assert place is not None and place[1] is entry, "no other entry takes its address"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.page)
def test_an_entry_asks_what_its_view_declares(entry):
    declared = {each.name: each.rights for each in PAGES}[entry.page]
    assert declared is not None and right_of(entry.page) == declared["get"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.route)
def test_a_page_is_in_a_group_or_outside_every_project(page):
    path = filled(page.route)
    place = place_of(path, "a-project", page.name)
    is_outside = path == "/" or path[1:].startswith(OUTSIDE)
    personal = place is not None and is_personal(place[1].page)
    assert (place is not None) != is_outside, "in the map, or named in OUTSIDE"
    assert place is None or "a-project" in path or personal or path.startswith(("/models/", "/runs/", "/datasets/"))


def test_no_page_and_no_group_stands_twice():
    assert len({entry.page for entry in ENTRIES}) == len(ENTRIES)
    assert len({group.words for group in GROUPS}) == len(GROUPS) == 8
    assert {page for _, page in SHORT_BAR} <= {entry.page for entry in ENTRIES}


@pytest.mark.parametrize(
    ("path", "page", "words"),
    [
        ("/p/a/", "project", ("Overview", "Overview")),
        ("/p/a/judge/history/", "annotate-history", ("Annotate", "My history")),
        ("/p/a/judge/5/", "annotate-edit", ("Annotate", "Work")),
        ("/p/a/leaderboard/pairs/", "leaderboard-pairs", ("Evaluate", "Leaderboard")),
        ("/p/a/runs/new/ppo/", "new-run", ("Train", "New run")),
        ("/runs/5/items/", "run-items", ("Train", "Runs")),
        ("/models/5/lineage/", "lineage", ("Models", "Registry")),
        ("/models/5/playground/", "playground", ("Models", "Playground")),
        ("/datasets/5/", "dataset", ("Data", "Datasets")),
    ],
)
def test_the_group_follows_from_the_address(path, page, words):
    place = place_of(path, "a", page)
    assert place is not None and (place[0].words, place[1].words) == words


def test_what_is_nowhere_is_in_no_group():
    assert place_of("/p/a/nowhere/", "a", "") is None
    assert place_of("/p/b/data/", "a", "") is None, "another project's"
