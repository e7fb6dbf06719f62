"""Who gets into a battle, and what is kept of whoever tries: strangers behind a proxy, members who left, addresses."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from annotate.arena.battles import follow_up, votes
from annotate.core import visitors
from annotate.core.errors import Refused
from annotate.models import Battle, BattleTurn, FirstAnswer, Membership, TryCount
from tests.support import factories
from tests.support.annotate.voting import cast, make_battle

pytestmark = pytest.mark.django_db


@pytest.fixture
def contest(project):
    prompts = [factories.make_prompt(project, side="eval") for _ in range(3)]  # visitors are shown an answer once
    for model in (factories.make_model(), factories.make_model()):
        factories.make_contestant(project, model)
        for prompt in prompts:
            factories.make_completion(prompt, model=model)
    return project


def start(project, **headers) -> dict:
    sent = {"project": project.slug, "drawn": True}
    headers = {"Idempotency-Key": "1", **headers}
    reply = Client().post("/api/v1/battles/", json.dumps(sent), content_type="application/json", headers=headers)
    assert reply.status_code == 201, reply.content
    return reply.json()


def test_strangers_behind_one_proxy_who_number_their_requests_alike_have_battles_of_their_own(contest, settings):
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    one, again, other = (start(contest, **{"X-Forwarded-For": f"203.0.113.{last}"}) for last in (7, 7, 8))
    assert one["id"] == again["id"] != other["id"]


def test_the_first_answer_to_a_stranger_is_kept_under_no_name_that_tells_the_address(contest, settings):
    start(contest)
    kept = FirstAnswer.objects.get()
    settings.SECRET_KEY = "another"
    start(contest)  # whoever knows key and address alone cannot make the name
    assert FirstAnswer.objects.exclude(who=kept.who).count() == 1


def test_tries_to_sign_in_are_counted_without_the_address_in_clear(client):
    client.post(reverse("account_login"), {"login": "eve", "password": "x"}, REMOTE_ADDR="203.0.113.77")
    sent = {"username": "eve", "password": "x"}
    client.post("/api/v1/auth/token/", sent, content_type="application/json", REMOTE_ADDR="203.0.113.77")
    keys = list(TryCount.objects.filter(key__startswith="sign-in").values_list("key", flat=True))
    assert keys and not [key for key in keys if "203.0.113" in key]


def test_whoever_has_left_a_private_project_votes_there_no_more_by_page_or_api(client, project, pair):
    project.is_public = False
    project.save()
    user = factories.make_user(project)
    client.force_login(user)
    battle = make_battle(project, pair, user=user)
    sent = {"winner": "tie", "token": votes.issue_token(battle)}
    Membership.objects.all().delete()
    page = client.post(reverse("arena-vote", args=[project.slug, battle.token]), sent)
    api = client.post(f"/api/v1/battles/{battle.token}/vote/", sent, content_type="application/json")
    assert (page.status_code, api.status_code) == (404, 404)
    assert client.get(f"/api/v1/battles/{battle.token}/").status_code == 404


def test_visitors_whose_address_nothing_tells_share_no_bound(rf, project, monkeypatch):
    monkeypatch.setattr(visitors, "BATTLES_PER_ADDRESS", 1)
    for name in ("one", "two", "three"):
        request = rf.get("/", REMOTE_ADDR="")
        request.user, request.session = factories.make_user(), Client().session
        visitors.throttle_battles(request, visitor=name)


def test_a_question_that_comes_between_the_look_and_the_vote_stops_the_vote(project, pair, monkeypatch):
    battle = make_battle(project, pair)
    use_up = votes._use_up

    def asked_meanwhile(battle: Battle, token: str) -> None:
        follow_up.ask_on(battle=battle, text="And then?")
        use_up(battle, token)

    monkeypatch.setattr(votes, "_use_up", asked_meanwhile)
    with pytest.raises(Refused, match="You can vote when both answers are finished"):
        cast(battle)
    assert not BattleTurn.objects.exists()  # in this test all is one transaction, which the refusal took back
    assert votes.issue_token(battle)


def test_a_refused_start_says_when_to_come_back(client, contest, monkeypatch):
    monkeypatch.setattr(visitors, "BATTLES_PER_PERSON", 0)
    TryCount.objects.all().delete()
    address = reverse("arena", args=[contest.slug])
    client.post(address, {"draw": "1"})
    key = TryCount.objects.get(key__startswith="battles:visitor")
    TryCount.objects.filter(pk=key.pk).update(since=key.since - timedelta(seconds=500))
    assert 0 < int(client.post(address, {"draw": "1"})["Retry-After"]) <= 100


def test_that_no_account_is_needed_is_said_only_where_none_is(client, contest):
    page = reverse("arena", args=[contest.slug])
    assert "No account is needed" in client.get(page).content.decode()
    contest.is_public = False
    contest.save()
    factories.sign_in(client, contest, "annotator")
    shown = client.get(page)
    assert shown.status_code == 200 and "No account is needed" not in shown.content.decode()
