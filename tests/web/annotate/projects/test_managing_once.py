"""What a manager's program sends again after a lost answer is done once, and answered as the first time."""

from __future__ import annotations

import pytest

from annotate.core.db.connections import database_now
from annotate.models import AuditEntry, Delivery, Invitation, Project, Webhook
from tests.support.api_client import Program, program, sent_twice
from tests.support.factories import make_model, make_project, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def manager(project: Project) -> Program:
    return program(project, role="manager")


def test_a_member_added_changed_and_removed(project: Project, manager: Program) -> None:
    person = make_user()
    for role in ("annotator", "reviewer", "remove"):
        body = {"username": person.username, "role": role}
        sent_twice(lambda key, body=body: manager.post(f"projects/{project.slug}/members/", body, key=f"{key} {body}"))
    assert not project.memberships.filter(user=person).exists()
    assert AuditEntry.objects.filter(action="member.role", about=person.username).count() == 3


def test_a_removal_sent_again_late_does_not_remove_who_came_back(project: Project, manager: Program) -> None:
    person, address = make_user(project), f"projects/{project.slug}/members/"
    removal = {"username": person.username, "role": "remove"}
    assert manager.post(address, removal, key="once").status_code == 200
    assert manager.post(address, removal | {"role": "annotator"}).status_code == 200
    assert manager.post(address, removal, key="once").status_code == 200
    assert project.memberships.filter(user=person).exists()


def test_an_invitation_taken_back(project: Project, manager: Program) -> None:
    pk = manager.post(f"projects/{project.slug}/invitations/", {"role": "annotator"}).json()["id"]
    address = f"projects/{project.slug}/invitations/{pk}/revoke/"
    assert sent_twice(lambda key: manager.post(address, key=key)).json()["revoked_at"]
    assert Invitation.objects.unanswered().count() == 0


def test_an_invitation_taken_up(project: Project, manager: Program) -> None:
    link = manager.post(f"projects/{project.slug}/invitations/", {"role": "reviewer"}).json()["link"]
    guest, body = Program(make_user()), {"token": link.rstrip("/").rsplit("/", 1)[-1]}
    assert sent_twice(lambda key: guest.post("invitations/accept/", body, key=key)).json()["role"] == "reviewer"


def test_a_list_of_people_invited_and_taken_back(project: Project, manager: Program) -> None:
    address = f"projects/{project.slug}/invitations"
    body = {"people": [{"email": "ann@example.org"}, {"email": "ben@example.org"}], "batch": "spring"}
    assert sent_twice(lambda key: manager.post(f"{address}/bulk/", body, key=key)).json()["invited"] == 2
    act = {"batch": "spring", "action": "withdraw"}
    sent_twice(lambda key: manager.post(f"{address}/batches/", act, key=f"{key} back"))
    assert Invitation.objects.count() == 2 and not Invitation.objects.unanswered().exists()


def test_an_event_sent_again_by_a_webhook(project: Project, manager: Program) -> None:
    hook = Webhook.objects.create(project=project, url="https://example.org/hook", events=[])
    event = Delivery.objects.create(
        webhook=hook, event="run.finished", body="{}", state="failed", tries=9, next_try_at=database_now()
    )
    address, body = f"webhooks/{hook.pk}/send-again/", {"delivery": str(event.pk)}
    sent_twice(lambda key: manager.post(address, body, key=key))
    Delivery.objects.update(state="delivered", tries=1)
    assert manager.post(address, body, key="once").status_code == 200
    event.refresh_from_db()
    assert (event.state, event.tries) == ("delivered", 1), "sent a third time"


@pytest.mark.parametrize(
    ("acts", "action"),
    [
        ([("enter", "arena"), ("leave", "arena")], "arena.left"),
        ([("retire", {"reason": "It repeats itself."}), ("bring-back", {})], "model.brought back"),
        ([("retire", {"reason": "It repeats itself."})], "model.retired"),
    ],
)
def test_a_model_entered_taken_out_retired_and_brought_back(
    project: Project, acts: list[tuple[str, object]], action: str
) -> None:
    staff, model = Program(make_user(project, role="manager", is_staff=True)), make_model()
    for act, sent in acts:
        body, address = {"project": project.slug} if sent == "arena" else sent, f"models/{model.pk}/{act}/"
        sent_twice(lambda key, address=address, body=body: staff.post(address, body, key=f"{key} {address}"))
    assert AuditEntry.objects.filter(action=action).count() == 1


def test_a_model_shared_no_longer(project: Project) -> None:
    staff, model = Program(make_user(project, role="manager", is_staff=True)), make_model()
    sent_twice(lambda key: staff.post(f"models/{model.pk}/share/", {"shared": False}, key=key))
    assert AuditEntry.objects.filter(action="model.unshared").count() == 1
