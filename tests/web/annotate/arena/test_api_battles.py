"""The arena through the API: visitors without cookies, nothing that tells the models before the vote, one vote."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import visitors
from annotate.models import Battle, Comparison, Hold
from tests.support.annotate.openai_server import openai_server
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_completion, make_contestant, make_model, make_project, make_prompt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("somebody_answers")]


@pytest.fixture(autouse=True)
def _no_throttle_yet():
    cache.clear()


@pytest.fixture
def project():
    """Two models in the arena that have both answered eval prompts, so that nobody has to write anything."""
    project = make_project()
    prompts = [make_prompt(project, side="eval") for _ in range(4)]  # visitors are shown a stored answer once
    for text in ("Because of Rayleigh.", "It reflects the sea."):
        model = make_contestant(project).model
        for prompt in prompts:
            run_sampled(make_completion(prompt, text, model=model))
    return project


def run_sampled(completion) -> None:
    completion.sampling, completion.source = {"temperature": 1.0}, "run"
    completion.save()


def ballot(battle, winner="tie", **more):
    return {"winner": winner, "token": battle["vote_token"], **more}


def start(client: Program, project, **more):
    return client.post("battles/", {"project": project.slug, "drawn": True}, **more)


def test_a_visitor_votes_with_the_token_of_the_battle(project):
    visitor = Program()
    response = start(visitor, project)
    assert response.status_code == 201
    battle = response.json()
    assert battle["ready"] and not battle["voted"]
    assert {c["text"] for c in battle["completions"]} == {"Because of Rayleigh.", "It reflects the sea."}
    vote = visitor.post(f"battles/{battle['id']}/vote/", ballot(battle, "model_b"), HTTP_VISITOR=battle["visitor"])
    assert vote.status_code == 201
    body, row = vote.json(), Comparison.objects.get()
    assert (row.winner, row.author, row.source) == ("model_b", None, "arena")
    stored = Battle.objects.get()
    assert (body["model_a"]["name"], body["model_b"]["name"]) == (stored.model_a.name, stored.model_b.name)
    assert body["counted"] and body["ranks"] and body["why"]


def test_nothing_tells_a_model_before_the_vote(project):
    response = start(Program(), project)
    body = response.content.decode()
    battle = Battle.objects.get()
    for model in (battle.model_a, battle.model_b):
        assert model.name not in body and model.folder not in body
    assert all(set(c) == {"text", "state", "problem", "cut"} for c in response.json()["completions"])


def test_a_battle_is_read_again_by_its_visitor_alone(project):
    battle = start(Program(), project).json()
    again = Program().http.get(f"/api/v1/battles/{battle['id']}/", HTTP_VISITOR=battle["visitor"])
    assert again.json()["completions"] == battle["completions"]
    assert "battle" in errors(Program().get(f"battles/{battle['id']}/"), 404)


def test_someone_elses_battle_is_not_there(project):
    battle = start(Program(), project).json()
    for client, headers in ((Program(), {}), (program(project), {}), (Program(), {"HTTP_VISITOR": "x" * 32})):
        told = errors(client.post(f"battles/{battle['id']}/vote/", {"winner": "tie"}, **headers), 404)
        assert "Visitor" in told["battle"]
    assert not Comparison.objects.exists()


def test_a_second_vote_is_refused_and_a_repeated_key_gets_the_first_answer(project):
    person = program(project)
    battle = start(person, project).json()
    first = person.post(f"battles/{battle['id']}/vote/", ballot(battle), key="v1")
    again = person.post(f"battles/{battle['id']}/vote/", ballot(battle), key="v1")
    assert again.json() == first.json() and again.status_code == 201
    told = errors(person.post(f"battles/{battle['id']}/vote/", ballot(battle, "model_a"), key="v2"), 409)
    assert "battle" in told and Comparison.objects.get().winner == "tie"


def test_a_repeated_key_starts_one_battle_for_accounts_and_visitors(project):
    for client in (program(project), Program()):
        before = Battle.objects.count()
        first, again = start(client, project, key="b1"), start(client, project, key="b1")
        assert first.json() == again.json()
        assert Battle.objects.count() == before + 1


def test_an_unknown_winner_is_refused(project):
    battle = start(Program(), project).json()
    response = Program().post(f"battles/{battle['id']}/vote/", {"winner": "A"}, HTTP_VISITOR=battle["visitor"])
    assert "both_bad" in errors(response)["winner"]
    assert not Comparison.objects.exists()


@pytest.mark.parametrize("body", [{}, {"text": "Hi", "drawn": True}, {"text": "  "}])
def test_a_battle_needs_a_text_or_a_drawn_prompt(project, body):
    assert "text" in errors(Program().post("battles/", {"project": project.slug, **body}))
    assert not Battle.objects.exists()


def test_an_arena_with_one_model_says_what_is_missing():
    project = make_project()
    make_contestant(project)
    assert "two models" in errors(start(Program(), project), 409)["arena"]


def test_a_private_arena_does_not_exist_for_visitors(project):
    project.is_public = False
    project.save()
    assert "project" in errors(start(Program(), project), 404)


def test_visitors_are_throttled_and_members_are_not(project, monkeypatch):
    monkeypatch.setattr(visitors, "BATTLES_PER_PERSON", 1)
    token = start(Program(), project).json()["visitor"]
    refused = start(Program(), project, HTTP_VISITOR=token)
    assert "wait" in errors(refused, 429)["arena"]
    assert start(Program(), project).status_code == 201  # somebody else
    member = program(project)
    assert [start(member, project).status_code for _ in range(3)] == [201, 201, 201]


@pytest.mark.django_db(transaction=True)
def test_a_question_is_answered_by_both_models_before_the_reply(project, settings):
    with openai_server() as server:
        settings.MODEL_SERVER_URL = server.url
        client = Program()
        battle = client.post("battles/", {"project": project.slug, "text": "Why is the sea salty?"}).json()
        assert battle["ready"] and [c["text"] for c in battle["completions"]] == ["Hello there."] * 2
        server.status = 500
        broken = client.post("battles/", {"project": project.slug, "text": "And the lakes?"}).json()
    assert not broken["ready"] and all(c["problem"] for c in broken["completions"])
    told = errors(client.post(f"battles/{broken['id']}/vote/", {"winner": "tie"}, HTTP_VISITOR=broken["visitor"]), 409)
    assert "Start another" in told["battle"]


def test_two_strangers_who_choose_the_same_key_get_battles_of_their_own(project):
    one = start(Program(), project, key="1").json()
    other = start(Program(), project, key="1", REMOTE_ADDR="203.0.113.9").json()
    assert one["id"] != other["id"] and one["visitor"] != other["visitor"]


def test_a_vote_needs_the_token_of_its_battle(project):
    client = Program()
    battle, other = start(client, project).json(), start(client, project).json()
    path, who = f"battles/{battle['id']}/vote/", {"HTTP_VISITOR": battle["visitor"]}
    assert "token" in errors(client.post(path, {"winner": "tie"}, **who), 400)
    assert "token" in errors(client.post(path, ballot(other), **who), 403)
    assert client.post(path, ballot(battle), **who).status_code == 201
    read = client.http.get(f"/api/v1/battles/{battle['id']}/", **who).json()
    assert (read["voted"], read["ready"], read["vote_token"]) == (True, False, "")
    assert errors(client.post(path, ballot(battle), **who), 409)


@pytest.mark.django_db(transaction=True)
def test_a_program_asks_on_stops_and_votes_on_the_conversation(project, settings):
    with openai_server() as server:
        settings.MODEL_SERVER_URL = server.url
        server.answer = lambda body: [f"Answer {len(body['messages'])} of {body['model'][-4:]}."]
        client = Program()
        battle = client.post("battles/", {"project": project.slug, "text": "Why is the sea salty?"}).json()
        path, who = f"battles/{battle['id']}", {"HTTP_VISITOR": battle["visitor"]}
        response = client.post(f"{path}/turns/", {"text": "And the lakes?", "number": 2}, **who)
        assert response.status_code == 201
        turns = response.json()["turns"]
        assert [turn["question"] for turn in turns] == ["Why is the sea salty?", "And the lakes?"]
        assert all(answer["text"].startswith("Answer 3") for answer in turns[1]["completions"])
        stopped = client.post(f"{path}/stop/", **who).json()
        assert stopped["done"] and stopped["ready"] and stopped["turns"] == turns
        assert "text" in errors(client.post(f"{path}/turns/", {"text": " "}, **who), 400)
        assert "number" in errors(client.post(f"{path}/turns/", {"text": "And?", "number": 9}, **who), 409)
    assert client.post(f"{path}/vote/", ballot(stopped), **who).status_code == 201
    told = errors(client.post(f"{path}/turns/", {"text": "And?"}, **who), 409)
    assert "voted" in told["battle"]


def test_a_stranger_stops_and_asks_nothing(project):
    battle = start(Program(), project).json()
    for what, body in (("stop", {}), ("turns", {"text": "And?"})):
        assert "battle" in errors(Program().post(f"battles/{battle['id']}/{what}/", body), 404)


def test_a_visitor_reads_what_became_of_each_vote_and_no_name_before_it():
    project = make_project()
    prompts = [make_prompt(project, side="eval") for _ in range(2)]
    models = [make_model(name=name) for name in ("Aardvark", "Zebra")]
    for model in models:
        make_contestant(project, model)
        for prompt in prompts:
            make_completion(prompt, model=model)
    client = Client()
    body = {"project": project.slug, "drawn": True}
    first, second = (client.post("/api/v1/battles/", body, content_type="application/json").json() for _ in range(2))
    address, headers = f"/api/v1/projects/{project.slug}/battles/mine/", {"Visitor": first["visitor"]}
    assert first["visitor"] != second["visitor"]
    (mine,) = client.get(address, headers=headers).json()
    assert (mine["id"], mine["vote"]) == (first["id"], None)
    assert not [model for model in models if model.name in str(mine)]
    sent = {"winner": "tie", "token": first["vote_token"]}
    client.post(f"/api/v1/battles/{first['id']}/vote/", sent, content_type="application/json", headers=headers)
    vote = Comparison.objects.get()
    vote_guard.hold(rows=[vote], kind=Hold.PATTERN)
    (mine,) = client.get(address, headers=headers).json()
    assert (mine["vote"]["status"], mine["vote"]["counted"]) == ("held", False)
    assert "more than preferences explain" in mine["vote"]["why"] and mine["vote"]["comparison"] == vote.pk
    assert client.get(f"{address}?before={mine['number']}", headers=headers).json() == []
    assert client.get(f"{address}?before=x", headers=headers).status_code == 400
    assert client.get(address).json() == []
