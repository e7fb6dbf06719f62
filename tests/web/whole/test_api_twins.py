"""Requests that arrive twice at the same moment, as they do when a client loses patience and repeats."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from annotate.models import Comparison, Completion, FirstAnswer
from tests.support.api_client import Program
from tests.support.factories import make_assignment, make_pair, make_project, make_prompt, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(client: Program, path: str, body, *, keys: list[str]):
    """The responses of as many threads as there are keys."""

    def send(key: str):
        try:
            return Program(client.user).post(path, body, key=key)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(keys)) as pool:
        return list(pool.map(send, keys))


def test_twins_with_one_key_add_a_list_once_and_get_one_answer():
    project = make_project()
    client = Program(make_user(project, role="researcher"))
    body = [{"prompt": make_prompt(project).pk, "text": text} for text in ("one", "two")]
    answers = at_once(client, "completions/", body, keys=["k"] * 4)
    assert {a.status_code for a in answers} == {201}
    assert all(a.json() == answers[0].json() for a in answers)
    assert Completion.objects.count() == 2 and FirstAnswer.objects.count() == 1


@pytest.mark.parametrize("query", ["", "?next=1"])
def test_a_vote_sent_twice_at_once_with_two_keys_is_stored_once(query: str):
    project = make_project()
    client = Program(make_user(project))
    task = make_assignment(client.user, *make_pair(project))
    answers = at_once(client, f"assignments/{task.pk}/submit/{query}", {"winner": "tie"}, keys=["a", "b", "c", "d"])
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409]
    assert Comparison.objects.count() == 1
