"""No secret that the API tells once lies in the database with the answer kept for repetitions."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from annotate import cleanup
from annotate.models import FirstAnswer, Webhook
from tests.support.api_client import Program, program
from tests.support.factories import (
    PASSWORD,
    make_completion,
    make_contestant,
    make_model,
    make_project,
    make_prompt,
    make_user,
)

pytestmark = pytest.mark.django_db


def kept() -> str:
    return json.dumps(list(FirstAnswer.objects.values_list("body", flat=True)))


@pytest.fixture
def contest():
    project = make_project()
    prompts = [make_prompt(project, side="eval") for _ in range(3)]  # visitors are shown a stored answer once
    for model in (make_model(), make_model()):
        make_contestant(project, model)
        for prompt in prompts:
            make_completion(prompt, model=model)
    return project


@pytest.fixture
def manager(settings):
    settings.PRIVATE_WEBHOOKS = ("127.0.0.1",)
    return program(make_project(), role="manager")


def project_of(manager: Program) -> str:
    return manager.user.memberships.get().project.slug


def make_hook(manager: Program):
    return manager.post("webhooks/", {"project": project_of(manager), "url": "http://127.0.0.1:9/"}, key="k")


def test_a_token_is_in_no_kept_answer():
    user = make_user()
    token = Program().post("auth/token/", {"username": user.username, "password": PASSWORD}, key="k").json()["token"]
    renewed = Program(user).post("auth/token/renew/", key="k").json()["token"]
    assert token and renewed and token not in kept() and renewed not in kept()


def test_an_invitations_link_is_in_no_kept_answer(manager):
    made = manager.post(f"projects/{project_of(manager)}/invitations/", {"role": "annotator"}, key="k")
    assert made.status_code == 201
    assert made.json()["link"].rstrip("/").split("/")[-1] not in kept()


def test_a_webhooks_secret_is_told_again_and_kept_nowhere_but_with_the_webhook(manager):
    first, again = make_hook(manager), make_hook(manager)
    assert first.json()["secret"] and first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true" and Webhook.objects.count() == 1
    assert first.json()["secret"] not in kept()
    rotated = manager.post(f"webhooks/{first.json()['id']}/rotate-secret/", key="r").json()["secret"]
    assert rotated not in kept()


def test_who_manages_no_more_is_not_told_a_webhooks_secret_again(manager):
    make_hook(manager)
    manager.user.memberships.update(role="annotator")
    again = make_hook(manager)
    assert again.headers["Idempotency-Replayed"] == "true" and again.json()["secret"] == ""


def test_the_tokens_of_a_strangers_battle_are_told_again_and_kept_nowhere(contest):
    def start():
        return Program().post("battles/", {"project": contest.slug, "drawn": True}, key="k")

    first, again = start().json(), start().json()
    assert first == again and first["visitor"] and first["vote_token"]
    assert first["visitor"] not in kept() and first["vote_token"] not in kept()
    mine = {"HTTP_VISITOR": again["visitor"]}
    ballot = {"winner": "tie", "token": again["vote_token"]}
    assert Program().post(f"battles/{first['id']}/vote/", ballot, key="v", **mine).status_code == 201
    assert start().json()["vote_token"] == ""  # used up


def test_another_key_is_another_stranger(contest):
    tokens = {
        Program().post("battles/", {"project": contest.slug, "drawn": True}, key=key).json()["visitor"]
        for key in ("1", "2", "")
    }
    assert len(tokens) == 3


def test_every_answer_that_is_kept_and_might_tell_a_secret_is_tested_here():
    """By what the API says of itself: fields with the name of a secret, where an Idempotency-Key is understood."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    found = set()
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            if any(p["name"] == "Idempotency-Key" for p in told.get("parameters", [])):
                names = {name for reply in told["responses"].values() for name in fields(schema, reply)}
                if names & {"secret", "token", "vote_token", "visitor", "link", "password", "code", "key"}:
                    found.add(f"{method} {path.removeprefix('/api/v1/')}")
    assert found == {"post webhooks/", "post battles/", "post battles/{token}/turns/"}


def fields(schema: dict, reply: dict) -> set[str]:
    texts: set[str] = set()
    for content in reply.get("content", {}).values():
        reference = content["schema"].get("$ref", "") or content["schema"].get("items", {}).get("$ref", "")
        texts |= set(schema["components"]["schemas"].get(reference.rpartition("/")[2], {}).get("properties", {}))
    return texts


def test_kept_answers_go_after_a_month():
    now = timezone.now()
    for key, days in (("old", 31), ("young", 29)):
        FirstAnswer.objects.create(who="user:1", key=key, request_hash="", body={})
        FirstAnswer.objects.filter(key=key).update(created_at=now - timedelta(days=days))
    cleanup.sweep()
    assert list(FirstAnswer.objects.values_list("key", flat=True)) == ["young"]
