"""Keys of forms: one act is done once, and nobody's key stands in the way of others', of programs' or of imports'."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from annotate.models import Comparison, Project
from tests.support.annotate.voting import make_battle
from tests.support.api_client import Program
from tests.support.factories import make_assignment, make_model, make_pair, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(project: Project) -> list:
    return list(make_pair(project))


def signed_in(project: Project, role: str = "annotator") -> tuple[Client, object]:
    client, user = Client(), make_user(project, role=role)
    client.force_login(user)
    return client, user


def send(client: Client, project: Project, task: object, key: str, choice: str = "tie"):
    sent = {"assignment": task.pk, "choice": choice, "idempotency_key": key}
    return client.post(reverse("annotate", args=[project.slug]), sent)


def test_two_annotators_may_send_forms_with_one_key(project, pair):
    for _ in range(2):
        client, user = signed_in(project)
        assert send(client, project, make_assignment(user, *pair), "1").status_code == 302
    assert Comparison.objects.count() == 2


def test_a_key_of_a_form_takes_nothing_from_a_program_or_an_import(project, pair):
    client, mallory = signed_in(project)
    program = Program(make_user(project))
    task = make_assignment(program.user, *pair)
    send(client, project, make_assignment(mallory, *pair), f"{program.user.pk}:1")
    assert program.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="1").status_code == 201
    send(client, project, make_assignment(mallory, *make_pair(project)), "import:tea:1")
    assert Comparison.objects.count() == 3
    assert not Comparison.objects.filter(idempotency_key__startswith="import:").exists()


def test_a_form_and_a_program_of_one_person_share_their_keys(project, pair):
    client, user = signed_in(project)
    task = make_assignment(user, *pair)
    send(client, project, task, "1")
    again = Program(user).post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="1")
    assert again.status_code == 201 and again.json()["id"] == Comparison.objects.get().pk


def test_a_key_that_is_too_long_is_refused_with_what_was_entered(project, pair):
    client, user = signed_in(project)
    answer = send(client, project, make_assignment(user, *pair), "k" * 101)
    assert answer.status_code == 400 and "such as a UUID" in answer.content.decode()
    assert not Comparison.objects.exists()


def test_two_voters_may_vote_with_one_key_and_a_comment_keeps_its_lines(project):
    models = [make_model(), make_model()]
    for _ in range(2):
        client, user = signed_in(project)
        battle = make_battle(project, models, user=user)
        address = reverse("arena-battle", args=[project.slug, battle.token])
        token = client.get(address).content.decode().partition('name="token" value="')[2].partition('"')[0]
        ballot = {"winner": "tie", "token": token, "key": "1", "comment": "One.\r\nTwo."}
        assert client.post(f"{address}vote/", ballot).status_code == 302
    assert list(Comparison.objects.values_list("comment", flat=True)) == ["One.\nTwo."] * 2


def test_a_decision_that_is_sent_twice_is_made_once(project, pair):
    for winner in ("model_a", "model_b"):
        user = make_user(project)
        task = make_assignment(user, *pair)
        assert Program(user).post(f"assignments/{task.pk}/submit/", {"winner": winner}).status_code == 201
    client, reviewer = signed_in(project, "reviewer")
    key = ":".join(["compare", *map(str, sorted(one.pk for one in pair))])
    address = reverse("adjudicate-item", args=[project.slug, key])
    for _ in range(2):
        answer = client.post(address, {"choice": "tie", "idempotency_key": "1"})
        assert (answer.status_code, answer["Location"]) == (302, reverse("adjudicate", args=[project.slug]))
    assert client.post(address, {"choice": "tie", "idempotency_key": "2"}).status_code == 409
    assert Comparison.objects.filter(author=reviewer).count() == 1
