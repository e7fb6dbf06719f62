"""Who may use an address is declared where it is, nothing starts without it, and live pages and staff keep to it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import path, reverse
from rest_framework.test import APIClient

from annotate.admin import DeclaredAdmin
from annotate.consumers import BattleConsumer
from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.asgi.socket_access import DeclaredConsumer
from annotate.core.errors import Refused
from annotate.core.page_access import allows, in_project
from annotate.core.rights import action_of, is_for_accounts, is_for_visitors
from annotate.playground.playground_consumer import PlaygroundConsumer
from annotate.red_team.talk_consumer import TalkConsumer
from config.addresses import require_all, sockets
from config.rights_table import PLACE, table
from config.routing import SOCKETS, websocket_urlpatterns
from config.urls import OTHERS
from tests.support.crawl import routes
from tests.support.everything import one_of_everything
from tests.support.factories import make_project, make_user
from tests.web.whole.test_permission_matrix import EVERYBODY, bodies, may, person

# Declarations


def test_a_right_is_a_choice_of_words_that_must_all_hold():
    assert is_for_visitors("read, mine") and not is_for_visitors("mine") and not is_for_visitors("account, read")
    assert action_of("manage or judge, mine") == "judge" and action_of("read") == "read"
    assert is_for_accounts("mine") and is_for_accounts("staff") and not is_for_accounts("manage or staff")


@pytest.mark.parametrize("rights", [{}, {"get": "reviewer"}, {"fetch": "read"}])
def test_a_declaration_that_says_nothing_or_nonsense_is_refused(rights):
    with pytest.raises(ImproperlyConfigured):
        allows(**rights)


def test_a_project_s_page_names_a_role_in_the_project():
    with pytest.raises(ImproperlyConfigured, match="account"):
        in_project(get="account")


def test_what_declares_nothing_fails_at_import():
    with pytest.raises(ImproperlyConfigured, match=r"Forgotten\.rights .* list"):

        class Forgotten(DeclaredViewSet):
            def list(self, request: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"Silent\.right"):

        class Silent(DeclaredConsumer): ...

    with pytest.raises(ImproperlyConfigured, match=r"Bare\.staff_may"):

        class Bare(DeclaredAdmin): ...


def test_urls_refuse_a_view_and_routing_a_consumer_that_declare_nothing():
    with pytest.raises(ImproperlyConfigured, match="p/<slug>/new/"):
        require_all([path("p/<slug:slug>/new/", lambda request, slug: None)], {}, {"GroupAdmin"})
    opened = lambda scope, receive, send: None  # noqa: E731
    opened.consumer_class = object  # type: ignore[attr-defined]
    with pytest.raises(ImproperlyConfigured, match="ws/new/"):
        list(sockets([path("ws/new/", opened)]))


def test_the_table_of_the_docs_is_current():
    assert PLACE.read_text(encoding="utf-8") == table(), "run script/rights"


@pytest.mark.slow
@pytest.mark.django_db
def test_head_is_answered_by_pages_as_get_is_and_nothing_fails_at_it():
    made = one_of_everything(make_project(is_public=True))
    browser, program = Client(), APIClient(raise_request_exception=False)
    browser.force_login(made["manager"])
    program.force_authenticate(made["manager"])
    wrong = []
    for route in routes():
        if "get" not in route.rights or route.name in OTHERS:
            continue
        client: Any = program if route.is_for_programs else browser
        address = route.address(made)
        get, head, options = (getattr(client, method)(address).status_code for method in ("get", "head", "options"))
        if head not in ((get, 405) if route.is_for_programs else (get,)) or options >= 500:
            wrong.append(f"{route.name}: GET {get}, HEAD {head}, OPTIONS {options}")
    assert not wrong, "\n".join(wrong)


# Live pages


def _is_let_in(consumer: Any) -> bool:
    try:
        if isinstance(consumer, BattleConsumer):
            return consumer._battle() is not None
        if isinstance(consumer, TalkConsumer):
            return consumer._own_talk() is not None
        return bool(consumer._models() if isinstance(consumer, PlaygroundConsumer) else consumer.open())
    except Refused:
        return False


@pytest.mark.django_db
@pytest.mark.parametrize("is_public", [True, False])
def test_live_pages_let_in_whom_they_declare(is_public):
    made = one_of_everything(make_project(is_public=is_public, asks_attacks=True))
    for who in EVERYBODY:
        user = person(who, made) or AnonymousUser()
        for pattern, (address, right) in zip(websocket_urlpatterns, SOCKETS.items(), strict=True):
            consumer = pattern.callback.consumer_class()
            token = (made["talk"] if "red-team" in address else made["battle"]).token
            ids = {"pk": made["model"].pk, "run_id": made["run"].pk, "slug": made["project"].slug, "token": token}
            consumer.scope = {"user": user, "session": SimpleNamespace(session_key=""), "url_route": {"kwargs": ids}}
            consumer.query = {}
            assert _is_let_in(consumer) is may(who, right, is_public=is_public), (who, address)


# Administration


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["visitor", "manager", "staff", "superuser"])
def test_the_administration_offers_what_it_declares(who):
    made = one_of_everything(make_project())
    people = {"manager": made["manager"], "staff": make_user(is_staff=True)}
    people["superuser"] = make_user(is_staff=True, is_superuser=True)
    browser = Client()
    if who != "visitor":
        browser.force_login(people[who])
    for model, each in admin.site._registry.items():
        name, row = f"admin:{model._meta.app_label}_{model._meta.model_name}", model._default_manager.first()
        addresses = {"view": reverse(f"{name}_changelist"), "add": reverse(f"{name}_add")}
        addresses |= {"delete": reverse(f"{name}_delete", args=[row.pk])} if row else {}
        for what, address in addresses.items():
            status = browser.get(address).status_code
            if who in ("visitor", "manager"):
                assert status == 302, address
            else:
                offered = what in getattr(each, "staff_may", ("view", "add", "delete"))
                assert status == (200 if who == "superuser" and offered else 403), address
        if row and who == "superuser" and "change" not in getattr(each, "staff_may", ("change",)):
            assert browser.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403, name


# Ids of another project, inside one's own

_OF_A_ROW = re.compile(r"<slug>.*<(?:pk|token|key|item)>")


@pytest.mark.django_db
def test_a_foreign_id_inside_one_s_own_project_is_not_there():
    theirs, mine = (one_of_everything(make_project(is_public=False, asks_attacks=True)) for _ in range(2))
    browser, program = Client(), APIClient()
    browser.force_login(mine["manager"])
    program.force_authenticate(mine["manager"])
    mixed, wrong, tried = theirs | {"project": mine["project"]}, [], 0
    for route in routes():
        for method in route.rights if _OF_A_ROW.search(route.route) else ():
            sent = {} if method == "get" or not route.is_for_programs else {"format": "json"}
            body = [bodies(mixed).get(route.name, {})] if sent else []
            client: Any = program if route.is_for_programs else browser
            status = getattr(client, method)(route.address(mixed), *body, **sent).status_code
            tried += 1
            if status != 404:
                wrong.append(f"{method} {route.name}: {status}")
    assert tried > 20 and not wrong, "\n".join(wrong)


NAMED = (  # of a row in the body, beside one's own project
    *("projects/<p>/adjudications/", "projects/<p>/exclusions/", "projects/<p>/ask-next/", "models/<pk>/enter/"),
    *("models/<pk>/leave/", "instructions/", "instructions/preview/", "evaluations/", "evaluations/alike/"),
    "promotions/",
)


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMED)
def test_a_foreign_id_in_the_body_is_refused(name):
    theirs, mine = (one_of_everything(make_project(is_public=False)) for _ in range(2))
    program = APIClient()
    program.force_authenticate(mine["manager"])
    mixed = theirs | {"project": mine["project"]}
    route = next(each for each in routes() if each.name == name)
    response = program.post(route.address(mixed), bodies(mixed)[name], format="json")
    assert response.status_code in (400, 404, 409), response.content  # 409: nobody here has judged that item
    assert theirs["model"].name not in response.content.decode()


# A private project, for those who are not of it


def _looks(client: Any, method: str, address: str, sent: dict[str, Any], slug: str) -> tuple[int, str, str]:
    response = getattr(client, method)(address, **sent)
    body = "" if response.streaming else response.content.decode()
    body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", body)
    return response.status_code, response.headers.get("Location", "").replace(slug, "it"), body.replace(slug, "it")


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("who", ["visitor", "stranger"])
def test_a_private_project_looks_like_one_that_is_not_there(who):
    made = one_of_everything(make_project(is_public=False, slug="there-is-one", asks_attacks=True))
    browser, program, user = Client(), APIClient(), person(who, made)
    if user is not None:
        browser.force_login(user)
        program.force_authenticate(user)
    wrong, tried = [], 0
    for route in routes():
        body = bodies(made).get(route.name, {})
        if "<slug>" not in route.route and "project" not in body:
            continue
        client: Any = program if route.is_for_programs else browser
        for method in route.rights:
            looks = []
            for slug in ("there-is-one", "there-is-none"):
                address = route.address(made).replace("there-is-one", slug)
                data = {**body, "project": slug} if "project" in body else body
                sent = {"data": data, "format": "json"} if route.is_for_programs and method != "get" else {}
                looks.append(_looks(client, method, address, sent, slug))
            tried += 1
            if looks[0] != looks[1]:
                wrong.append(f"{method} {route.name}: {looks[0]} for {looks[1]}"[:600])
    assert tried > 100 and not wrong, "\n".join(wrong)
