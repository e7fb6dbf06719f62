"""The tours of the sample project: six stops each, taken by buttons, and dismissed for good."""

from __future__ import annotations

import pytest
from django.test import Client, RequestFactory

from annotate.models import AuditEntry, Project, User
from evaluation.sample.fixture_loader import load
from evaluation.sample.tours import LAST, TOURS, strip_of
from tests.support.factories import make_project, make_user

pytestmark = pytest.mark.django_db
OFFER = "Take a tour of six short stops"


@pytest.fixture
def sample(db: None) -> Project:
    return load()[0]


def go(client: Client, kind: str, stop: int) -> str:
    """Return the page that a stop leads to, followed to its end."""
    response = client.post("/tour/", {"kind": kind, "stop": stop}, follow=True)
    assert response.status_code == 200, (kind, stop)
    return response.content.decode()


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        pytest.param("visitor", "", marks=pytest.mark.thorough),
        pytest.param("annotator", "annotator", marks=pytest.mark.thorough),
        ("researcher", "researcher"),
    ],
)
def test_each_tour_leads_through_six_pages(client: Client, sample: Project, kind: str, role: str) -> None:
    if role:
        client.force_login(make_user(sample, role=role))
    assert OFFER in client.get("/p/sample/").content.decode()
    assert len(TOURS[kind]) == LAST
    pages = set()
    for number in range(1, LAST + 1):
        page = go(client, kind, number)
        assert f"Stop {number} of 6: {TOURS[kind][number - 1].title}." in page
        pages.add(page)
    assert len(pages) == LAST and ">Finish<" in page and ">Back<" in page
    assert f"Stop {LAST} of 6" in client.get("/p/sample/runs/").content.decode()  # it stays while one looks elsewhere
    go(client, kind, LAST + 1)
    for address in ("/p/sample/", "/p/sample/runs/"):
        text = client.get(address).content.decode()
        assert "of 6:" not in text and OFFER not in text


def test_only_tours_that_one_may_take_are_offered(client: Client, sample: Project) -> None:
    def offered() -> list[str]:
        page = client.get("/p/sample/").content.decode()
        return [kind for kind in TOURS if f'name="kind" value="{kind}"' in page]

    assert offered() == ["visitor"]
    client.force_login(make_user())
    assert offered() == ["visitor"]
    client.force_login(make_user(sample))
    assert offered() == ["visitor", "annotator"]
    client.force_login(make_user(sample, role="manager"))
    assert offered() == ["visitor", "annotator", "researcher"]


def test_a_tour_that_one_may_not_take_is_refused_in_words(client: Client, sample: Project) -> None:
    page = go(client, "researcher", 1)
    assert "that you may take" in page and "Stop 1 of 6" not in page


def test_an_unknown_tour_or_stop_is_refused_in_words(client: Client, sample: Project) -> None:
    for kind in ("", "nobody", "visitor' or 1"):
        assert "Choose a tour (visitor, annotator, researcher" in go(client, kind, 1), kind
    for stop in ("", "8", "-1", "²", "1.5", "99999999999999999999"):
        response = client.post("/tour/", {"kind": "visitor", "stop": stop}, follow=True)
        assert "a stop from 1 to 6" in response.content.decode(), stop


def test_an_account_remembers_in_every_browser(sample: Project) -> None:
    user = make_user(sample)
    for visit in range(2):
        browser = Client()
        browser.force_login(user)
        assert (OFFER in browser.get("/p/sample/").content.decode()) == (visit == 0)
        browser.post("/tour/", {"stop": ["1", "0"]})  # as the form sends it: the hidden field, then the button
    assert User.objects.get(pk=user.pk).tours_dismissed_at is not None
    assert OFFER in Client().get("/p/sample/").content.decode()  # somebody else's browser


def test_who_has_dismissed_them_can_still_take_one(client: Client, sample: Project) -> None:
    client.force_login(make_user(sample))
    client.post("/tour/", {"stop": "0"})
    assert "Stop 1 of 6" in go(client, "annotator", 1)


def test_a_cookie_of_anybodys_making_shows_nothing(client: Client, sample: Project) -> None:
    for cookie in ("researcher-9", "researcher-0", "nobody-1", "visitor-", "visitor-²", "<b>", "x" * 4000):
        client.cookies["tour"] = cookie
        assert "of 6:" not in client.get("/p/sample/runs/").content.decode(), cookie


def test_other_pages_ask_the_database_nothing_for_it(sample: Project, django_assert_num_queries) -> None:
    request = RequestFactory().get("/p/another/")
    request.user = make_user()
    with django_assert_num_queries(0):
        assert strip_of(request) is None


def test_another_project_of_that_slug_has_no_tour(client: Client) -> None:
    make_project(slug="sample")
    assert OFFER not in client.get("/p/sample/").content.decode()
    response = client.post("/tour/", {"kind": "visitor", "stop": "1"}, follow=True)
    assert "The sample project was removed" in response.content.decode()


def test_staff_remove_the_project_on_a_page(client: Client, sample: Project) -> None:
    client.force_login(make_user(sample, role="manager"))
    assert client.get("/sample/remove/").status_code == 403
    client.force_login(make_user(sample, role="manager", is_staff=True))
    assert "Remove the sample project" in client.get("/p/sample/").content.decode()
    assert "Other projects do not change" in client.get("/sample/remove/").content.decode()
    page = client.post("/sample/remove/", follow=True).content.decode()
    assert "The sample project is removed" in page and not Project.objects.filter(slug="sample").exists()
    assert AuditEntry.objects.get(action="sample.removed").about.startswith("Sample project (finished")
    assert "There is no sample project here" in client.post("/sample/remove/", follow=True).content.decode()
