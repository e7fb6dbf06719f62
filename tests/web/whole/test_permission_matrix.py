"""Every address of the site, tried by everybody: what a role may not do the server refuses, and says no more.

What each may do is declared by the views (`annotate.core.rights`); an address that declares nothing fails at import.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from annotate.core.permissions import ROLES_FOR
from annotate.models import Project, Role, User
from config.urls import OTHERS
from tests.support.api_client import Program
from tests.support.crawl import Route, routes
from tests.support.everything import one_of_everything
from tests.support.factories import make_completion, make_project, make_prompt, make_rating, make_user
from tests.support.sampling_of_cases import plain_run_tries

pytestmark = pytest.mark.django_db
OUTSIDE = ("visitor", "stranger", "staff")  # a stranger manages another project
SHUT_OUT = "shut out"  # a manager without the second factor that the project wants
EVERYBODY = (*OUTSIDE, "owner", *Role.values)


def person(who: str, made: dict[str, Any]) -> User | None:
    if who == "visitor":
        return None
    if who == "stranger":
        return make_user(make_project(), role="manager")
    if who == "staff":
        return make_user(is_staff=True)
    return made["owner"] if who == "owner" else make_user(made["project"], role=who)


def may(who: str, rights: str, *, is_public: bool) -> bool:
    return any(_may(who, right, is_public) for right in rights.split(" or "))


def _may(who: str, right: str, is_public: bool) -> bool:
    if "," in right:
        return all(_may(who, word, is_public) for word in right.split(", "))
    role = Role.ANNOTATOR if who == "owner" else who
    match right:
        case "anybody":
            return True
        case "nobody":
            return False
        case "account":
            return who != "visitor"
        case "read":
            return is_public or who not in (*OUTSIDE, SHUT_OUT)
        case "mine":
            return who == "owner"
        case "staff" | "project_maker":  # by default nobody else starts projects
            return who == "staff"
        case "researcher":
            return who == "stranger" or role in ROLES_FOR["research"]
    return role in ROLES_FOR[right]


def bodies(made: dict[str, Any]) -> dict[str, Any]:
    """Where an address looks at the body before it looks at the role: one that is in order."""
    slug = made["project"].slug
    of_project = {"project": slug}
    return {
        "projects/": {"slug": "new", "name": "New"},
        "projects/<p>/guidelines/": {"text": "New"},
        "projects/<p>/members/": {"username": made["owner"].username, "role": "annotator"},
        "projects/<p>/adjudications/": {"item": made["key"]},
        "projects/<p>/complaints/<pk>/": {"decision": "keep"},
        "projects/<p>/exclusions/": {"person": made["owner"].pk, "reason": "why"},
        "projects/<p>/exclusions/<pk>/undo/": {"reason": "why"},
        "projects/<p>/roll-back/": {"reason": "why"},
        "projects/<p>/ask-next/": {"chosen": [made["key"]]},
        "assignments/<pk>/send-back/": {"comment": "why"},
        "assignments/<pk>/flag/": {"reason": "broken"},
        "assignments/<pk>/skip/": {"reason": "too hard"},
        "talks/<token>/rate/": {"rating": 1, "tags": []},
        "models/<pk>/enter/": of_project,
        "models/<pk>/leave/": of_project,
        "models/<pk>/retire/": {"reason": "old"},
        "models/<pk>/share/": {"shared": True},
        "prompts/": of_project | {"text": "A question?"},
        "completions/": {"prompt": made["prompt"].pk, "text": "An answer."},
        "ratings/": {"completion": made["completion"].pk, "stars": 3},
        "comparisons/": of_project | {"prompt": [{"role": "user", "content": "?"}], "chosen": "a", "rejected": "b"},
        "battles/": of_project | {"drawn": True},
        "demonstrations/": {"prompt": made["prompt"].pk, "text": "An answer."},
        "datasets/": of_project | {"kind": "prompts", "name": "new"},
        "datasets/preview/": of_project | {"kind": "prompts"},
        "datasets/hub/": of_project | {"hub": "no name", "kind": "corpus", "name": "new"},  # no hub is asked
        "imports/hub/": of_project | {"hub": "no name"},
        "webhooks/": of_project | {"url": "https://127.0.0.1/"},
        "disk/prune/": of_project,
        "runs/": of_project | {"kind": "sft", "name": "new"},
        "runs/estimate/": of_project | {"kind": "sft"},
        "runs/<pk>/choose/": {"choice": "on"},
        "runs/<pk>/priority/": {"priority": "low"},
        "instructions/": of_project | {"datasets": [made["dataset"].pk], "name": "new"},
        "instructions/preview/": of_project | {"datasets": [made["dataset"].pk]},
        "evaluations/": of_project | {"model": made["model"].pk, "name": "new", "config": {}},
        "evaluations/alike/": of_project | {"models": [made["model"].pk], "name": "new", "config": {}},
        "promotions/": of_project | {"model": made["model"].pk, "reason": "why"},
    }


# Files travel as forms, and what these lists may tell is chosen by the project that is asked for.
FORMS = ("comparisons/import/", "datasets/upload/", "imports/", "corpora/")
OF_ROWS = ("completions/", "ratings/", "demonstrations/")  # of many projects perhaps: it says which one is wrong
# They answer by themselves, to be tried by tests of their own below; or the row of `everything` is not the owner's.
BY_THEMSELVES = ("join", "projects/<p>/join/", "playground-keep", "socialaccount_login_error")  # the last says 401
OF_OTHERS = ("quality-undo", "projects/<p>/exclusions/<pk>/undo/")
OF_A_PROJECT = ("corpora/", "disk/", "leaderboard", "evaluations/compare/")


# One of each side of the rights: let in by a public project, shut out, and at work. CI asks everybody.
PLAIN = {("stranger", False), ("annotator", False)}
# Those inside crawl a public project (test_crawl), and try a closed one here: for them both are the same.
ALL = [(who, is_public) for who in EVERYBODY for is_public in (True, False) if who in OUTSIDE or not is_public]


@pytest.mark.slow
@pytest.mark.parametrize(("who", "is_public"), plain_run_tries(*PLAIN, of=ALL))
def test_everybody_at_every_address(who, is_public):
    made = one_of_everything(make_project(is_public=is_public, asks_attacks=True))
    _try_everything(made, person(who, made), who, is_public)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("is_public", [True, False])
def test_a_manager_without_the_second_factor_that_the_project_wants(is_public):
    made = one_of_everything(make_project(is_public=is_public, asks_attacks=True))
    manager = make_user(made["project"], role="manager")
    Project.objects.filter(pk=made["project"].pk).update(needs_second_factor=True)
    _try_everything(made, manager, SHUT_OUT, is_public)


def _try_everything(made: dict[str, Any], user: User | None, who: str, is_public: bool) -> None:
    browser, program = Client(raise_request_exception=False), APIClient(raise_request_exception=False)
    if user is not None:
        browser.force_login(user)
        program.force_authenticate(user)
    given, wrong = bodies(made), []
    for route in routes():
        for method in route.methods:
            right = route.rights.get(method, "")
            right = "manage" if route.name in OF_OTHERS and right else right
            response = _tried(program if route.is_for_programs else browser, route, method, made, given)
            if problem := _wrong(response, who, right, route, is_public):
                wrong.append(f"{method} {route.name}, for {right or 'nobody'}: {problem}")
    assert not wrong, "\n".join(wrong)


def _tried(client: Any, route: Route, method: str, made: dict[str, Any], fields: dict[str, Any]) -> Any:
    """And nothing of it stays, so that the next finds all as it was."""
    address, body, form = route.address(made), fields.get(route.name, {}), "json"
    if route.name.startswith(OF_A_PROJECT) and method == "get":
        address += f"?project={made['project'].slug}"
    if route.name in FORMS:
        kind = {"kind": "labelled", "name": "new"} if route.name == "datasets/upload/" else {}
        file = SimpleUploadedFile("rows.jsonl", b'{"text": "a", "label": "b"}')
        body, form = {"project": made["project"].slug, "file": file, **kind}, "multipart"
    savepoint = transaction.savepoint()
    try:
        if not route.is_for_programs:
            return getattr(client, method)(address)
        if route.name == "runs/from-yaml/":
            order = f"kind: sft\nproject: {made['project'].slug}\n"
            return client.post(address, order, content_type="application/yaml")
        if method == "get":
            return client.get(address)
        return getattr(client, method)(address, body, format=form)
    finally:
        transaction.savepoint_rollback(savepoint)


def _wrong(response: Any, who: str, right: str, route: Route, is_public: bool) -> str:
    """What is wrong with the answer, or nothing."""
    status = response.status_code
    to_sign_in = status == 302 and response.url.startswith("/sign-in/")
    if status >= 500:
        return f"{status}: {getattr(response, 'exc_info', '')}"
    if right and status == 405:
        return "not offered"
    if not right and status != 405 and route.name not in OTHERS:
        return "offered, and nobody says to whom"
    if not right or route.name in BY_THEMSELVES:
        return ""
    if may(who, right, is_public=is_public):
        return f"{status}, though they may" if status in (401, 403) or to_sign_in else ""
    if status == 400 and route.name in OF_ROWS:
        return "" if _says_why(response, route) else "it does not say which"
    if status not in (401, 403, 404) and not to_sign_in:
        return f"{status}, though they may not"
    if not is_public and who in OUTSIDE and status == 403 and right in ("read", "reader"):
        return "403 tells that there is such a project"
    return "" if to_sign_in or _says_why(response, route) else "it does not say why"


def _says_why(response: Any, route: Route) -> bool:
    if not route.is_for_programs:
        return 'role="alert"' in response.content.decode() or response.status_code == 404
    told = response.json().get("errors", {})
    return bool(told) and all(text.strip() for text in told.values())


@pytest.mark.parametrize("who", EVERYBODY)
def test_whoever_joins_a_closed_project_is_refused(who):
    made = one_of_everything(make_project())
    program, user = Program(), person(who, made)
    if user is not None:
        program.http.force_authenticate(user)
    response = program.http.post(f"/api/v1/projects/{made['project'].slug}/join/", {}, format="json")
    assert response.status_code == (401 if who == "visitor" else 403)


@pytest.mark.parametrize("who", ["visitor", "stranger", "annotator", "reviewer"])
def test_only_researchers_keep_a_question_of_the_playground(who):
    made = one_of_everything(make_project())
    browser, user = Client(), person(who, made)
    if user is not None:
        browser.force_login(user)
    before = made["project"].prompts.count()
    browser.post(reverse("playground-keep", args=[made["model"].pk]), {"text": "A question?"})
    assert made["project"].prompts.count() == before


def test_a_null_character_is_wrong_and_no_failure_of_ours():
    """Postgres refuses it in any text, so that it must not come so far."""
    project = make_project()
    manager = make_user(project, role="manager")
    client, program = Client(), Program(manager)
    client.force_login(manager)
    where = {"slug": project.slug}
    rating = make_rating(make_completion(make_prompt(project)))
    vote = reverse("vote-status", args=[project.slug, "rating", rating.pk])
    tried = [
        client.get(reverse("audit", kwargs=where), {"who": "\x00", "action": "\x00"}),
        client.post(reverse("members", kwargs=where), {"username": "a\x00", "role": "annotator"}),
        client.post(reverse("gold-lift", kwargs=where), {"username": "a\x00", "note": "why"}),
        client.get(f"/p/{project.slug}/adjudicate/compare:1%00/"),
        program.get(f"projects/{project.slug}/audit/", who="\x00"),
        program.get(f"projects/{project.slug}/disagreements/compare:1%00/"),
        client.post(vote, {"status": "held", "reason": "a\x00"}),
        client.post(reverse("scales", kwargs=where), {"kind": "aspect", "name": "depth", "title": "a\x00"}),
        client.get(reverse("datasets", kwargs=where), {"categories": "\x00"}),
        client.get(reverse("export", kwargs=where), {"format": "assay", "source": "\x00"}),
    ]
    assert [response.status_code for response in tried] == [200, 400, 404, 404, 200, 404, 400, 400, 200, 400]


@pytest.mark.parametrize(
    "kind", plain_run_tries("", of=("application/yaml", "application/json", "multipart/form-data; boundary=x", ""))
)
def test_no_address_for_programs_fails_where_nothing_is_sent(kind):
    made = one_of_everything(make_project())
    program = APIClient(raise_request_exception=False)
    program.force_authenticate(made["manager"])
    failed = []
    for route in routes():
        for method in set(route.methods) & {"post", "put", "patch"} if route.is_for_programs else ():
            savepoint = transaction.savepoint()
            response = program.generic(method.upper(), route.address(made), b"", content_type=kind)
            transaction.savepoint_rollback(savepoint)
            failed += [(route.name, method)] if response.status_code >= 500 else []
    assert not failed
