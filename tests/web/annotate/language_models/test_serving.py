"""Whether the server holds a model, and loading one before anybody asks."""

from __future__ import annotations

import time

import pytest
from django.urls import reverse

from annotate.arena.battles import actions as arena
from annotate.arena.battles import pairing
from annotate.core.errors import Refused
from annotate.language_models import model_server, serving
from annotate.models import LanguageModel
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> LanguageModel:
    return factories.make_contestant(factories.make_project()).model


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Loading in this thread: it has ended when `load` returns."""
    monkeypatch.setattr(serving, "_start", serving._warm)


@pytest.fixture
def started(monkeypatch) -> list[LanguageModel]:
    """What was begun to be loaded, and never ends."""
    begun: list[LanguageModel] = []
    monkeypatch.setattr(serving, "_start", begun.append)
    return begun


def test_a_model_is_idle_until_it_is_loaded(model, fake, at_once):
    assert serving.serving(model).state == "idle"
    fake.answer = lambda body: fake.models.append(body["model"]) or ["x"]
    serving.load(model)
    assert serving.serving(model).state == "loaded"
    assert fake.requests[0]["max_tokens"] == 1


def test_one_that_cannot_be_loaded_says_why_and_may_be_tried_again(model, fake, at_once):
    fake.status, fake.error = 500, "no config.json"
    serving.load(model)
    told = serving.serving(model)
    assert told.state == "failed" and "no config.json" in told.problem and told.can_load
    fake.status = 200
    fake.answer = lambda body: fake.models.append(body["model"]) or ["x"]
    serving.load(model)
    assert serving.serving(model).state == "loaded"


def test_while_it_loads_nobody_asks_again(model, fake, started):
    serving.load(model)
    serving.load(model)
    assert len(started) == 1
    assert serving.serving(model).is_loading


def test_a_thread_of_its_own_loads_it(model, fake):
    fake.answer = lambda body: fake.models.append(body["model"]) or ["x"]
    serving.load(model)
    deadline = time.monotonic() + 5
    while serving.serving(model).is_loading and time.monotonic() < deadline:
        time.sleep(0.02)
    assert serving.serving(model).state == "loaded"


def test_a_status_in_the_list_is_believed(model, fake, monkeypatch):
    listed = {"data": [{"id": model.server_name, "status": {"value": "unloaded"}}]}
    monkeypatch.setattr(model_server, "_request", lambda *args, **options: listed)
    assert serving.serving(model).state == "idle"
    listed["data"][0]["status"]["value"] = "loaded"
    assert serving.serving(model).state == "loaded"


def test_a_server_that_is_not_there_is_said(model, settings, unused_tcp_port):
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{unused_tcp_port}/v1"
    told = serving.serving(model)
    assert told.state == "unreachable" and "script/server" in told.problem and not told.can_load


def test_the_address_for_programs_carries_no_secret():
    model = LanguageModel(name="x", endpoint="https://me:secret@[::1]:8443/v1", served_name="x")
    assert serving.address_of(model) == "https://[::1]:8443/v1"


def test_only_researchers_see_it_and_load(client, model, fake):
    project = model.contests.get().project
    url = reverse("model-serving", args=[model.pk])
    assert client.get(url).status_code == 403
    assert client.post(url).status_code == 403
    assert not fake.requests
    client.force_login(factories.make_user(project, role="researcher"))
    assert "Load now" in client.get(url).content.decode()
    part = client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert part.strip().startswith('<div id="serving"')


def test_loading_from_the_page_says_so(client, model, fake, started):
    client.force_login(factories.make_user(model.contests.get().project, role="researcher"))
    url = reverse("model-serving", args=[model.pk])
    part = client.post(url, headers={"HX-Request": "true"}).content.decode()
    assert "Loading" in part and 'hx-trigger="every 2s"' in part and len(started) == 1


class TestNotServed:
    """A server with a list of its own, such as vLLM, knows nothing of a child until it is told."""

    @pytest.fixture
    def project(self, model):
        made = model.contests.get().project
        factories.make_contestant(made)
        return made

    @pytest.fixture
    def child(self, project, fake):
        """A third model, which the server does not list."""
        fake.models = [contestant.model.server_name for contestant in project.contestants.all()]
        return factories.make_contestant(project, factories.make_model(name="the-child")).model

    def test_it_does_not_enter_live_battles(self, project, child):
        battles = [arena.start_battle(project=project, visitor="a" * 64, text=f"Why {n}?") for n in range(12)]
        assert child not in {model for battle in battles for model in (battle.model_a, battle.model_b)}

    def test_with_too_few_that_are_served_the_refusal_says_the_remedy_and_names_nobody(self, project, child, fake):
        fake.models = [child.server_name]
        with pytest.raises(Refused) as refused:
            arena.start_battle(project=project, visitor="a" * 64, text="Why?")
        told = refused.value.errors["arena"]
        assert refused.value.status == 409 and "Draw a question" in told and child.name not in told

    def test_it_meets_others_on_stored_answers(self, project, child, fake, monkeypatch):
        fake.models = ["another"]
        prompt = factories.make_prompt(project, side="eval")
        for contestant in project.contestants.all():
            factories.make_completion(prompt, model=contestant.model)
        ada = factories.make_user(project)
        battles = [arena.start_battle(project=project, visitor="", user=ada, is_drawn=True) for _ in range(12)]
        assert all(battle.is_ready for battle in battles)
        assert child in {model for battle in battles for model in (battle.model_a, battle.model_b)}

    def test_a_drawn_question_without_answers_is_written_by_those_that_are_served(self, project, child):
        factories.make_prompt(project, side="eval")
        battles = [arena.start_battle(project=project, visitor="a" * 64, is_drawn=True) for _ in range(12)]
        assert child not in {model for battle in battles for model in (battle.model_a, battle.model_b)}

    def test_a_red_team_does_not_meet_it(self, project, child):
        assert child not in pairing.served_contestants(project)

    def test_its_page_says_so_and_the_remedy(self, client, project, child):
        client.force_login(factories.make_user(project, role="researcher"))
        page = client.get(reverse("model-serving", args=[child.pk])).content.decode()
        assert (
            "unserved" in page
            and "battles on stored answers only" in page
            and child.server_name in page
            and "--lora-modules" in page
        )

    def test_a_server_that_loads_folders_by_itself_serves_every_child(self, child, fake, monkeypatch):
        listed = {"data": [{"id": "another", "status": {"value": "loaded"}}]}
        monkeypatch.setattr(model_server, "_request", lambda *args, **options: listed)
        assert serving.is_served(child)

    def test_a_server_that_cannot_be_asked_is_given_the_benefit_of_the_doubt(self, child, settings, unused_tcp_port):
        settings.MODEL_SERVER_URL = f"http://127.0.0.1:{unused_tcp_port}/v1"
        assert serving.is_served(child)


def test_each_server_is_asked_once_for_all_contestants_where_nothing_is_remembered(monkeypatch, settings):
    """Redis gone, and the server hangs: a battle must not begin after as many time-outs as there are models."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    project, asked = factories.make_project(), []
    models = [factories.make_contestant(project).model for _ in range(5)]

    def held(url: str) -> frozenset[str]:
        asked.append(url)
        return frozenset(model.server_name for model in models[1:])

    monkeypatch.setattr(model_server, "held_models", held)
    assert pairing.served_contestants(project) == models[1:]
    assert asked == [settings.MODEL_SERVER_URL]
