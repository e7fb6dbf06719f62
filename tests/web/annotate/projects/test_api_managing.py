"""What managers do through the API: settings, guidelines, members, the arena, the model that is served."""

from __future__ import annotations

import pytest

from annotate.models import Membership
from evaluation.models import Promotion
from tests.support.api_client import errors, program
from tests.support.factories import make_contestant, make_model, make_project, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(project):
    return program(project, "manager")


def test_managers_change_settings_and_others_do_not(project, manager):
    address = f"/api/v1/projects/{project.slug}/"
    changed = manager.http.patch(address, {"overlap": 3}, format="json")
    assert changed.status_code == 200 and changed.json()["overlap"] == 3
    assert "overlap" in errors(manager.http.patch(address, {"overlap": 0}, format="json"))
    refused = program(project, "researcher").http.patch(address, {"overlap": 2}, format="json")
    assert "manager" in errors(refused, 403)["project"]


def test_guidelines_get_a_new_version(project, manager):
    path = f"projects/{project.slug}/guidelines/"
    assert manager.post(path, {"text": "Be brief."}).json()["guideline_version"] == 1
    assert manager.post(path, {"text": "Be true."}).json()["guideline_version"] == 2
    assert "text" in errors(manager.post(path, {"text": " "}))


def test_members_are_added_changed_and_removed(project, manager):
    path, user = f"projects/{project.slug}/members/", make_user(username="ada")
    roles = {m["username"]: m["role"] for m in manager.post(path, {"username": "ada", "role": "annotator"}).json()}
    assert roles["ada"] == "annotator"
    manager.post(path, {"username": "ada", "role": "reviewer"})
    assert Membership.objects.get(user=user).role == "reviewer"
    left = manager.post(path, {"username": "ada", "role": "remove"}).json()
    assert [m["username"] for m in left] == [manager.user.username]
    assert (
        "only manager" in errors(manager.post(path, {"username": manager.user.username, "role": "remove"}), 409)["role"]
    )
    assert "username" in errors(manager.post(path, {"username": "nobody", "role": "annotator"}))
    assert "researcher" in errors(manager.post(path, {"username": "ada", "role": "king"}))["role"]
    assert errors(program(project, "researcher").get(path), 403)


def test_a_model_leaves_the_arena(project, manager):
    model = make_contestant(project).model
    assert manager.post(f"models/{model.pk}/leave/", {"project": project.slug}).status_code == 200
    assert manager.get("models/", project=project.slug).json()["results"] == []
    assert errors(program(project).post(f"models/{model.pk}/enter/", {"project": project.slug}), 403)


def test_the_served_model_is_promoted_with_a_reason(project, manager):
    model = make_contestant(project).model
    body = {"project": project.slug, "model": model.pk, "reason": "It won."}
    made = manager.post("promotions/", body, key="p1")
    assert made.status_code == 201 and made.json()["model_name"] == model.name
    assert manager.post("promotions/", body, key="p1").json() == made.json()
    assert manager.get("promotions/", project=project.slug).json()["results"] == [made.json()]
    assert Promotion.objects.count() == 1
    assert "arena" in errors(manager.post("promotions/", {**body, "model": make_model().pk}))["model"]
    assert "manager" in errors(program(project, "researcher").post("promotions/", body), 403)["project"]


def test_models_of_private_projects_are_hidden_from_others(project):
    hidden = make_contestant(make_project(is_public=False)).model
    shown = make_contestant(project).model
    unused = make_model()
    stranger = program()
    assert [m["name"] for m in stranger.get("models/").json()["results"]] == [shown.name]
    assert "model" in errors(stranger.get(f"models/{hidden.pk}/"), 404)
    researcher = program(project, "researcher")
    assert {m["name"] for m in researcher.get("models/").json()["results"]} == {hidden.name, shown.name, unused.name}


def test_a_model_is_retired_with_a_reason_by_who_manages_all_its_projects(project, manager):
    model = make_contestant(project, make_model(is_shared=False, project=project)).model
    other = make_contestant(make_project(), make_model(name="of two", is_shared=False)).model
    make_contestant(project, other)
    body = {"reason": "It babbles."}
    for wrong in ({"reason": " "}, {"reason": "x" * 201}):
        assert "reason" in errors(manager.post(f"models/{model.pk}/retire/", wrong))
    assert errors(program(project, "researcher").post(f"models/{model.pk}/retire/", body), 403)
    assert errors(manager.post(f"models/{other.pk}/retire/", body), 403)
    assert manager.post(f"models/{model.pk}/retire/", body).json()["retired_reason"] == "It babbles."
    assert errors(manager.post(f"models/{model.pk}/retire/", body), 409)


def test_a_model_is_retired_on_its_page(client, project):
    model = make_contestant(project, make_model(is_shared=False, project=project)).model
    address = f"/models/{model.pk}/retire/"
    assert client.post(address, {"reason": "old"}).url.startswith("/sign-in/")
    client.force_login(make_user(project, role="researcher"))
    assert "<summary>Retire</summary>" not in client.get(f"/models/{model.pk}/").content.decode()
    assert client.post(address, {"reason": "old"}).status_code == 403
    client.force_login(make_user(project, role="manager"))
    assert "<summary>Retire</summary>" in client.get(f"/models/{model.pk}/").content.decode()
    assert client.post(address, {"reason": "old"}).url == f"/models/{model.pk}/"
    model.refresh_from_db()
    assert model.retired_reason == "old"
    assert "<summary>Retire</summary>" not in client.get(f"/models/{model.pk}/").content.decode()
