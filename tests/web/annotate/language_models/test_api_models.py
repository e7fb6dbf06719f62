"""Models for programs: card, serving, bringing back, and the files of an export."""

from __future__ import annotations

import pytest

from tests.support import factories
from tests.support.api_client import Program, errors, program
from tests.support.evaluation.chains import make_chain, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain():
    return make_chain(factories.make_project())


def test_the_card_comes_as_markdown(chain):
    text = program().get(f"models/{chain.ppo.pk}/card/").json()["markdown"]
    assert text.startswith("---\n") and "votes of July" in text


def test_the_card_of_a_hidden_model_is_not_there(chain):
    chain.project.is_public = False
    chain.project.save()
    assert errors(program().get(f"models/{chain.ppo.pk}/card/"), 404)
    assert Program().get(f"models/{chain.ppo.pk}/card/").status_code == 401


def test_a_researcher_reads_how_a_program_reaches_the_model(chain, settings, unused_tcp_port):
    settings.MODEL_SERVER_URL = f"http://me:secret@127.0.0.1:{unused_tcp_port}/v1"
    body = program(chain.project, "researcher").get(f"models/{chain.ppo.pk}/serving/").json()
    assert body["state"] == "unreachable" and body["base_url"] == f"http://127.0.0.1:{unused_tcp_port}/v1"
    assert body["model"] == str(chain.ppo.path)
    assert errors(program(chain.project).get(f"models/{chain.ppo.pk}/serving/"), 403)
    assert errors(program(chain.project).post(f"models/{chain.ppo.pk}/serving/"), 403)


def test_a_program_has_a_model_loaded(chain, monkeypatch):
    begun = []
    monkeypatch.setattr("annotate.language_models.serving._start", begun.append)
    answer = program(chain.project, "researcher").post(f"models/{chain.ppo.pk}/serving/")
    assert answer.json()["state"] == "loading" and begun == [chain.ppo]


def test_a_retired_model_is_brought_back_by_who_may_retire_it(chain):
    chain.ppo.retire(reason="old")
    path = f"models/{chain.ppo.pk}/bring-back/"
    assert errors(program(chain.project, "researcher").post(path), 403)
    manager = program(chain.project, "manager")
    assert manager.post(path).json()["retired_at"] is None
    assert errors(manager.post(path), 409)


def test_the_files_of_an_export_are_downloaded_by_name(chain):
    run = make_run("export", None, chain.project, parent=chain.ppo, result={"files": [{"name": "a.gguf"}]})
    (run.path / "export").mkdir(parents=True)
    (run.path / "export" / "a.gguf").write_bytes(b"GGUF")
    researcher = program(chain.project, "researcher")
    answer = researcher.get(f"runs/{run.pk}/export/a.gguf")
    assert b"".join(answer.streaming_content) == b"GGUF"
    assert errors(researcher.get(f"runs/{run.pk}/export/b.gguf"), 404)
    assert errors(program(chain.project).get(f"runs/{run.pk}/export/a.gguf"), 403)
    (run.path / "export" / "a.gguf").unlink()
    assert errors(researcher.get(f"runs/{run.pk}/export/a.gguf"), 410)


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1", "localhost"])
def test_nobody_has_this_server_ask_what_only_its_network_reaches_but_the_operator(host, settings):
    settings.PRIVATE_ENDPOINTS = ()
    project = factories.make_project()
    sent = {"name": "inside", "endpoint": f"http://{host}:8000/v1", "served_name": "x"}
    for is_staff in (False, True):  # a session of the staff that somebody stole asks no metadata service, either
        refused = errors(program(project, "researcher", is_staff=is_staff).post("models/", sent))
        assert "link-local" in refused["endpoint"] or "add " in refused["endpoint"]
    settings.PRIVATE_ENDPOINTS = (host.strip("[]"),)
    assert program(project, "researcher").post("models/", sent).status_code == 201
