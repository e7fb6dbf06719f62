"""What people and programs see of adapters at their base's server, and who may change it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import AdapterServer, Battle, ServedAdapter
from tests.support import factories
from tests.support.api_client import Program, program
from training.models import Run
from training.serving import adapter_upkeep

pytestmark = pytest.mark.django_db


@pytest.fixture
def loaded(vllm, new_child, base):
    child = new_child("child")
    adapter_upkeep.enter_missing()
    while adapter_upkeep.load_next():
        pass
    return child


def test_a_models_page_says_how_long_it_was_until_its_first_battle(client, project, loaded, base):
    ended = timezone.now() - timedelta(seconds=60)
    Run.objects.filter(output_model=loaded).update(finished_at=ended)
    ServedAdapter.objects.update(loaded_at=ended + timedelta(seconds=2))
    battle = Battle.objects.create(project=project, prompt=factories.make_prompt(project), model_a=base, model_b=loaded)
    Battle.objects.filter(pk=battle.pk).update(created_at=ended + timedelta(seconds=14))
    factories.sign_in(client, project, "researcher")
    page = client.get(reverse("model", args=[loaded.pk])).text
    assert "First battle 14.0 s after its run ended" in page and "Loaded 2.0 s after its run ended" in page
    table = client.get(reverse("adapters", args=[base.pk])).text
    assert "14.0 s" in table and "loaded" in table and "vllm serve" in table
    told = program(project, "researcher").get(f"models/{base.pk}/adapters/").json()
    assert told["limit"] == 8 and told["adapters"][0]["seconds_to_first_battle"] == pytest.approx(14)
    assert told["adapters"][0]["state"] == "loaded" and told["adapters"][0]["dialect"] == "vllm"


def test_a_failed_one_says_why_and_is_tried_again_from_page_and_api(client, vllm, new_child, base, project):
    vllm.lora = False
    child = new_child("child")
    adapter_upkeep.enter_missing()
    adapter_upkeep.load_next()
    factories.sign_in(client, project, "researcher")
    table = client.get(reverse("adapters", args=[base.pk])).text
    assert "--enable-lora --max-lora-rank" in table and "Load child now" in table
    client.post(reverse("model-serving", args=[child.pk]))
    assert ServedAdapter.objects.get().state == "waiting"
    ServedAdapter.objects.update(state="failed")
    told = program(project, "researcher").post(f"models/{child.pk}/serving/").json()
    assert told["state"] == "loading" and ServedAdapter.objects.get().state == "waiting"


def test_a_merged_child_says_what_it_takes(client, vllm, new_child, project, settings):
    merged = new_child("merged")
    (settings.DATA_DIR / merged.folder / "adapter_config.json").unlink()
    adapter_upkeep.enter_missing()
    factories.sign_in(client, project, "researcher")
    page = client.get(reverse("model", args=[merged.pk])).text
    assert "How to serve this model" in page and f"vllm serve {merged.path}" in page and "weights of its own" in page


def test_the_limit_is_changed_by_who_may_change_the_base(client, base, project, loaded):
    base.project = project
    base.save()
    path = reverse("adapters", args=[base.pk])
    factories.sign_in(client, project, "researcher")
    for limit, folder in (
        ("0", ""),
        ("many", ""),
        ("1001", ""),
        ("", ""),
        ("4", "relative/path"),
        ("4", "/" * 600 + "x"),
    ):
        answer = client.post(path, {"limit": limit, "data_folder": folder})
        assert answer.status_code == 400 and "Nothing was changed" in answer.text
    assert not AdapterServer.objects.exists()
    assert client.post(path, {"limit": "4", "data_folder": "/mnt/assay/"}).status_code == 302
    server = AdapterServer.objects.get()
    assert (server.limit, server.data_folder) == (4, "/mnt/assay")
    mine = program(project, "researcher")
    assert mine.patch(f"models/{base.pk}/adapters/", {"limit": 3}).json()["data_folder"] == "/mnt/assay"
    assert "limit" in mine.patch(f"models/{base.pk}/adapters/", {"limit": 0}).json()["errors"]
    assert AdapterServer.objects.get().limit == 3
    assert program(project, "annotator").get(f"models/{base.pk}/adapters/").status_code == 403


def test_somebody_of_another_project_changes_nothing_and_sees_no_children(client, base, project, loaded):
    base.project = project
    base.save()
    loaded.is_shared = False
    loaded.save()
    stranger = factories.make_user(factories.make_project(is_public=False), role="researcher")
    project.is_public = False
    project.save()
    told = Program(stranger).get(f"models/{base.pk}/adapters/").json()
    assert told["adapters"] == []
    assert Program(stranger).patch(f"models/{base.pk}/adapters/", {"limit": 1}).status_code == 403
    client.force_login(stranger)
    assert (
        "There are no adapters of this model that you may see" in client.get(reverse("adapters", args=[base.pk])).text
    )
    assert client.post(reverse("adapters", args=[base.pk]), {"limit": "1"}).status_code == 403


def test_more_children_are_listed_by_as_many_queries(vllm, new_child, base, project):
    mine, counts = program(project, "researcher"), []
    for name in ("first", "second", "third"):
        new_child(name)
        adapter_upkeep.enter_missing()
        with CaptureQueriesContext(connection) as queries:
            told = mine.get(f"models/{base.pk}/adapters/").json()
        counts.append((len(told["adapters"]), len(queries)))
    assert [count for count, _ in counts] == [1, 2, 3] and len({number for _, number in counts[1:]}) == 1


def test_a_question_in_the_playground_has_an_adapter_loaded_that_made_room(client, vllm, base, new_child, project):
    AdapterServer.objects.create(base=base, limit=1)
    child = new_child("child")
    adapter_upkeep.enter_missing()
    adapter_upkeep.load_next()
    new_child("other")
    adapter_upkeep.enter_missing()
    adapter_upkeep.load_next()
    assert ServedAdapter.objects.get(model=child).state == "evicted"
    factories.sign_in(client, project, "researcher")
    path = reverse("playground", args=[child.pk])
    assert "The server is loading it; ask again" in client.post(path, {"text": "Hello?", "conversation": "[]"}).text
    assert ServedAdapter.objects.get(model=child).state == "waiting"
    adapter_upkeep.load_next()
    assert f"child-{child.pk} answers." in client.post(path, {"text": "Hello?", "conversation": "[]"}).text
