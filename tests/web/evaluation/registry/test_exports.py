"""Exports: which model may leave as what, its card in the archive, and downloads of what a run made and no more."""

from __future__ import annotations

import hashlib

import pytest
from django.test import AsyncClient
from django.urls import reverse

from annotate.core.errors import Refused
from evaluation.registry import export_files
from tests.support import factories
from tests.support.evaluation.chains import Chain, make_chain
from training.core.kinds import KINDS
from training.models import Run
from training.runs.ordering.actions import queue_run

pytestmark = pytest.mark.django_db
CONTENT = b"GGUF" + bytes(range(256)) * 10_000


@pytest.fixture
def chain(project) -> Chain:
    return make_chain(project)


@pytest.fixture
def rita(project):
    return factories.make_user(project, role="researcher")


@pytest.fixture
def exported(chain, rita) -> Run:
    run = queue_run(kind="export", project=chain.project, name="out", by=rita, parent=chain.ppo)
    folder = run.path / "export"
    folder.mkdir(parents=True)
    (folder / "heron.gguf").write_bytes(CONTENT)
    (folder / "unnamed.txt").write_text("not of the result")
    (run.path / "config.json").write_text("{}")
    run.result = {
        "files": [{"name": "heron.gguf", "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}]
    }
    run.state = Run.State.SUCCEEDED
    run.save()
    return run


def url(run: Run, name: str) -> str:
    return reverse("export-file", args=[run.pk, name])


def test_only_a_policy_becomes_a_gguf_file(chain, rita):
    order = {"kind": "export", "project": chain.project, "by": rita}
    for model in (chain.reward, chain.tokenizer):
        with pytest.raises(Refused) as caught:
            queue_run(name="x", parent=model, config={"to": "gguf"}, **order)
        assert "choose safetensors" in caught.value.errors["config.to"]
        assert queue_run(name=f"ok-{model.pk}", parent=model, config={"to": "safetensors"}, **order).pk
    assert queue_run(name="y", parent=chain.ppo, config={"to": "gguf"}, **order).pk


def test_the_recipe_gets_the_card_and_the_licence(exported, chain):
    assert KINDS["export"].rows is not None
    (row,) = KINDS["export"].rows(exported)["card"]
    assert (row["name"], row["licence"]) == ("heron-ppo", "apache-2.0")
    assert row["readme"].startswith("---\n") and "votes of July" in row["readme"]


def test_the_card_holds_only_what_whoever_ordered_it_may_read(exported, chain):
    secret = factories.make_project(is_public=False)
    run = chain.sft.made_by
    run.project = secret
    run.save()
    assert "best answers" not in export_files.card(exported)["card"][0]["readme"]


def test_a_researcher_downloads_a_file_that_the_run_names(client, exported, rita):
    client.force_login(rita)
    response = client.get(url(exported, "heron.gguf"))
    assert b"".join(response.streaming_content) == CONTENT
    assert response["Content-Length"] == str(len(CONTENT))
    assert response["Content-Disposition"] == 'attachment; filename="heron.gguf"'
    assert url(exported, "heron.gguf") in client.get(reverse("run", args=[exported.pk])).content.decode()


@pytest.mark.parametrize(
    ("asked", "begin"),
    [("bytes=1000000-", 1_000_000), ("bytes=0-", 0), ("bytes=99999999999-", 0), ("bytes=-5", 0), ("x", 0)],
)
def test_a_download_that_broke_off_is_gone_on_with(client, exported, rita, asked, begin):
    client.force_login(rita)
    response = client.get(url(exported, "heron.gguf"), headers={"Range": asked})
    assert b"".join(response.streaming_content) == CONTENT[begin:]
    assert response.status_code == (206 if begin else 200)
    assert response["Content-Length"] == str(len(CONTENT) - begin)
    text = f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}" if begin else None
    assert response.get("Content-Range") == text


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_it_comes_block_by_block(exported, rita):
    client = AsyncClient()
    await client.aforce_login(rita)
    response = await client.get(url(exported, "heron.gguf"))
    blocks = [block async for block in response.streaming_content]
    assert b"".join(blocks) == CONTENT and len(blocks) > 1


@pytest.mark.parametrize(
    "name",
    ["unnamed.txt", "config.json", "..", "..%2Fconfig.json", "%2e%2e%2Fconfig.json", "heron.gguf%00", "HERON.GGUF"],
)
def test_nothing_else_of_its_folder_is_to_be_had(client, exported, rita, name):
    client.force_login(rita)
    assert client.get(f"/runs/{exported.pk}/export/{name}").status_code == 404


def test_a_name_in_the_result_that_leads_elsewhere_is_not_served(client, exported, rita):
    client.force_login(rita)
    target = exported.path / "config.json"
    (exported.path / "export" / "link.gguf").symlink_to(target)
    exported.result = {"files": [{"name": name, "bytes": 2, "sha256": ""} for name in ("link.gguf", "..", ".")]}
    exported.save()
    assert client.get(url(exported, "link.gguf")).status_code == 404
    assert client.get(f"/runs/{exported.pk}/export/%2e%2e").status_code in (404, 410)


def test_weights_are_for_researchers(client, exported, project):
    assert client.get(url(exported, "heron.gguf")).status_code == 403
    client.force_login(factories.make_user(project, role="annotator"))
    assert client.get(url(exported, "heron.gguf")).status_code == 403
    page = client.get(reverse("run", args=[exported.pk])).content.decode()
    assert url(exported, "heron.gguf") not in page and "Only researchers and managers can download" in page


def test_a_file_that_is_gone_is_said_with_the_remedy(client, exported, rita):
    client.force_login(rita)
    (exported.path / "export" / "heron.gguf").unlink()
    response = client.get(url(exported, "heron.gguf"))
    assert response.status_code == 410 and "queue the export again" in response.content.decode()
