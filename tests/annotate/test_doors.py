"""Every address of a project, tried by everybody: what a role may not do the server refuses, and says no more.

The tables are checked against the addresses themselves, so that a new page or program's address cannot be forgotten.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from annotate import api_urls, urls
from annotate.models import Role
from annotate.permissions import ROLES_FOR
from tests.api_client import Program
from tests.factories import make_project, make_user

pytestmark = pytest.mark.django_db
EVERYBODY = ("visitor", "stranger", *Role.values)
DENIED = (403, 404)
TOKEN = uuid.UUID(int=7)

# Name of the page -> what one must be allowed.
PAGES = {
    **dict.fromkeys(("project", "guidelines", "data", "votes", "arena", "arena-history", "arena-battle"), "read"),
    **dict.fromkeys(("arena-vote", "arena-proof", "arena-stop", "arena-turn"), "read"),
    **dict.fromkeys(("judge", "judge-skip", "judge-undo", "judge-again", "judge-flag", "judge-history"), "judge"),
    **dict.fromkeys(("judge-edit", "reading", "tutorial", "tutorial-lesson"), "judge"),
    **dict.fromkeys(("red-team", "red-team-rate", "attacks", "attack-withdraw"), "judge"),
    **dict.fromkeys(("adjudicate", "adjudicate-item", "send-back", "decide-prompt", "export"), "review"),
    **dict.fromkeys(
        ("project-playground", "upload", "arena-entry", "imports", "import", "import-problems"), "research"
    ),
    **dict.fromkeys(("import-cancel", "import-go-on"), "research"),
    **dict.fromkeys(("project-settings", "people", "members", "invite", "revoke-invitation", "audit"), "manage"),
    **dict.fromkeys(("gold", "gold-lift", "gold-change", "scales", "vote-status"), "manage"),
    **dict.fromkeys(("webhooks", "webhook", "webhook-again"), "manage"),
    "join": "",  # for everybody, where the project is open to it
}
CHANGES = {"guidelines": "manage", "data": "research"}  # pages that many read and few change
ARGUMENTS = {"pk": 1, "token": TOKEN, "key": "compare:1:2", "kind": "rating", "delivery": 1}

# (method, path below projects/<slug>/) -> what one must be allowed, and a body that is in order.
PROGRAMS = {
    ("post", "talks/"): ("judge", {}),
    ("get", "attacks/"): ("judge", {}),
    ("post", "attacks/1/withdraw/"): ("judge", {}),
    ("get", "invitations/"): ("manage", {}),
    ("post", "invitations/"): ("manage", {"role": "annotator"}),
    ("post", "invitations/1/revoke/"): ("manage", {}),
    ("get", "audit/"): ("manage", {}),
    ("post", "assignments/"): ("judge", {}),
    ("post", "guidelines/read/"): ("judge", {}),
    ("get", "message/"): ("judge", {}),
    ("post", "message/"): ("judge", {}),
    ("post", "tutorial/"): ("judge", {}),
    ("get", "gold/"): ("manage", {}),
    ("post", "gold/"): ("manage", {"item": "compare:1:2"}),
    ("patch", "gold/1/"): ("manage", {"retired": True}),
    ("get", "pauses/"): ("manage", {}),
    ("post", "pauses/"): ("manage", {"username": "nobody", "paused": True, "note": "why"}),
    ("get", "disagreements/"): ("review", {}),
    ("get", "disagreements/compare:1:2/"): ("review", {}),
    ("post", "adjudications/"): ("review", {"item": "compare:1:2"}),
    ("get", "complaints/"): ("review", {}),
    ("post", "complaints/1/"): ("review", {"decision": "keep"}),
    ("get", "queue/"): ("manage", {}),
    ("get", "judgements/mine/"): ("judge", {}),
    ("get", "battles/mine/"): ("read", {}),
    ("get", "scales/"): ("read", {}),
    ("post", "scales/"): ("manage", {"kind": "aspect", "name": "kind", "title": "Kind"}),
    ("patch", "scales/1/"): ("manage", {"title": "Kind"}),
    ("get", "export/"): ("review", {}),
    ("get", "members/"): ("manage", {}),
    ("post", "members/"): ("manage", {"username": "nobody", "role": "annotator"}),
    ("patch", ""): ("manage", {"description": "New"}),
    ("post", "guidelines/"): ("manage", {"text": "New"}),
    ("post", "join/"): ("", {}),
}


def person(who: str, project):
    if who == "visitor":
        return None
    return make_user(make_project(), role="manager") if who == "stranger" else make_user(project, role=who)


def may(who: str, action: str, *, is_public: bool) -> bool:
    if action == "read":
        return is_public or who in Role.values
    return who in ROLES_FOR[action]


def below_a_project(patterns) -> Iterator[URLPattern]:
    for pattern in patterns:
        route = str(pattern.pattern)
        if isinstance(pattern, URLPattern) and route.startswith(("p/<slug:slug>/", "projects/<slug:slug>/")):
            yield pattern


def test_no_page_and_no_address_is_forgotten():
    assert {pattern.name for pattern in below_a_project(urls.urlpatterns)} == set(PAGES)
    known = {path for _, path in PROGRAMS}
    for pattern in below_a_project(api_urls.urlpatterns):
        route = str(pattern.pattern).removeprefix("projects/<slug:slug>/")
        example = route.replace("<str:pk>", "1").replace("<str:item>", "compare:1:2")
        assert example in known, f"no role is tried on {route}"


@pytest.mark.parametrize("is_public", [True, False])
@pytest.mark.parametrize("who", EVERYBODY)
def test_pages(who, is_public):
    project = make_project(is_public=is_public, asks_attacks=True)
    client, user = Client(), person(who, project)
    if user is not None:
        client.force_login(user)
    wrong = []
    for pattern in below_a_project(urls.urlpatterns):
        if pattern.name == "join":
            continue
        given = {name: ARGUMENTS[name] for name in pattern.pattern.converters if name != "slug"}
        for method in (client.get, client.post):
            action = CHANGES.get(pattern.name, "") if method == client.post else ""
            action = action or PAGES[pattern.name]
            response = method(reverse(pattern.name, kwargs={"slug": project.slug, **given}))
            to_sign_in = response.status_code == 302 and response.url.startswith("/sign-in/")
            if may(who, action, is_public=is_public):
                is_right = response.status_code not in (401, 403, 500) and not to_sign_in
            elif response.status_code == 405:
                is_right = True  # it does nothing for anybody
            elif who == "visitor":
                is_right = to_sign_in or response.status_code == 404
            else:
                is_right = response.status_code == (404 if who == "stranger" and not is_public else 403)
            if not is_right:
                wrong.append((pattern.name, method.__name__, response.status_code))
    assert not wrong


@pytest.mark.parametrize("is_public", [True, False])
@pytest.mark.parametrize("who", EVERYBODY)
def test_programs(who, is_public):
    project = make_project(is_public=is_public)
    program, user = Program(), person(who, project)
    if user is not None:
        program.http.force_authenticate(user)
    wrong = []
    for (method, path), (action, body) in PROGRAMS.items():
        if not action:
            continue
        response = getattr(program.http, method)(f"/api/v1/projects/{project.slug}/{path}", body, format="json")
        if may(who, action, is_public=is_public) and user is not None:
            is_right = response.status_code not in (401, 403, 405, 500)
        elif may(who, action, is_public=is_public):
            is_right = response.status_code in (200, 401)  # some addresses are for people with an account alone
        elif who == "visitor":
            is_right = response.status_code in (401, 403, 404)
        else:  # of a row that is not there, or not theirs, 404 says no more than 403
            is_right = (
                response.status_code == 404 if who == "stranger" and not is_public else response.status_code in DENIED
            )
        if not is_right:
            wrong.append((method, path, response.status_code, getattr(response, "data", "")))
    assert not wrong


@pytest.mark.parametrize("who", EVERYBODY)
def test_whoever_joins_a_closed_project_is_refused(who):
    project = make_project()
    program, user = Program(), person(who, project)
    if user is not None:
        program.http.force_authenticate(user)
    response = program.http.post(f"/api/v1/projects/{project.slug}/join/", {}, format="json")
    assert response.status_code == (401 if who == "visitor" else 403)


def test_a_null_character_is_wrong_and_no_failure_of_ours():
    """Postgres refuses it in any text, so that it must not come so far."""
    project = make_project()
    manager = make_user(project, role="manager")
    client, program = Client(), Program(manager)
    client.force_login(manager)
    where = {"slug": project.slug}
    tried = [
        client.get(reverse("audit", kwargs=where), {"who": "\x00", "action": "\x00"}),
        client.post(reverse("members", kwargs=where), {"username": "a\x00", "role": "annotator"}),
        client.post(reverse("gold-lift", kwargs=where), {"username": "a\x00", "note": "why"}),
        client.get(f"/p/{project.slug}/adjudicate/compare:1%00/"),
        program.get(f"projects/{project.slug}/audit/", who="\x00"),
        program.get(f"projects/{project.slug}/disagreements/compare:1%00/"),
    ]
    assert [response.status_code for response in tried] == [200, 400, 404, 404, 200, 404]
