"""A run that samples from somebody's API, from its order to its completions; and nowhere its key."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.conf import settings
from django.core import management
from django.db import connection

from annotate.core.errors import Refused
from annotate.language_models.actions import register_model
from annotate.language_models.model_settings import ModelSettings
from annotate.models import Completion, LanguageModel
from tests.support.annotate.keyed_api import keyed_api, throttle
from tests.support.api_client import program
from tests.support.factories import make_project, make_user
from tests.support.training.runs import make_dataset, make_weights
from training.core.run_directory import RunDirectory, RunSpec
from training.models import Run
from training.runs.ordering.actions import queue_run
from training.runs.queue import preparation
from training.runs.worker import Worker

KEY = "sk-secret-of-a-laboratory"
PRICES = ModelSettings(prompt_price=2, completion_price=10, concurrency=6, max_new_tokens=77)


@pytest.fixture
def project(transactional_db):
    return make_project()


@pytest.fixture
def api():
    with keyed_api(key=KEY, reasoning="Hmm.") as server:
        yield server


def register(project, api, **fields) -> LanguageModel:
    values = {"name": "theirs", "endpoint": api.url, "served_name": "small", "key": KEY, "settings": PRICES}
    return register_model(project=project, **{**values, **fields})


def order(project, parent, n=6, **fields) -> Run:
    by = make_user(project, role="researcher")
    values = {"kind": "sample", "name": "answers", "dataset": make_dataset(project, rows=n), "by": by}
    return queue_run(project=project, parent=parent, **{"config": {"completions_per_prompt": 2}, **values, **fields})


def everything_kept() -> bytes:
    """All rows of all tables, and all files of the data folder."""
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += cursor.fetchall()
    files = [path.read_bytes() for path in settings.DATA_DIR.rglob("*") if path.is_file()]
    return json.dumps(rows, default=str).encode() + b"".join(files)


def test_a_run_asks_its_models_endpoint_and_its_key_is_nowhere(project, api, capfd, caplog):
    api.every = lambda number: throttle("0.05") if number == 3 else None
    run = order(project, register(project, api))
    assert run.config["max_new_tokens"] == 77  # the model's own
    Worker(name="test").work(once=True)
    run.refresh_from_db()
    assert run.state == "succeeded", (run.reason, (run.path / "log.txt").read_text()[-3000:])
    assert (run.result["completions"], run.result["throttled"]) == (12, 1)
    prompts, tokens = api.bill
    assert (run.result["prompt_tokens"], run.result["completion_tokens"]) == (prompts, tokens)
    assert run.result["cost"] == pytest.approx((2 * prompts + 10 * tokens) / 1e6)
    completions = Completion.objects.filter(sampled_by=run)
    assert completions.count() == 12
    assert float(sum(c.cost for c in completions)) == pytest.approx(run.result["cost"])
    one = completions.first()
    assert one.reasoning == "Hmm." and one.text.startswith("Answer to") and one.sampling["max_new_tokens"] == 77
    assert KEY.encode() not in everything_kept() and KEY not in "".join(capfd.readouterr()) + caplog.text
    page = program(project, "researcher").get(f"runs/{run.pk}/").content
    assert b'"cost"' in page and KEY.encode() not in page


def test_a_wrong_key_ends_the_run_in_words_and_a_right_one_resumes_it(project, api):
    model = register(project, api, key="wrong")
    run = order(project, model)
    Worker(name="test").work(once=True)
    run.refresh_from_db()
    assert run.state == "failed" and run.reason_code == "endpoint_key" and "page" in run.remedy
    assert b"wrong" not in (run.path / "log.txt").read_bytes()


def test_a_key_that_cannot_be_read_is_said(project, api, settings):
    model = register(project, api)
    settings.KEY_SECRETS = ["another"]
    run = order(project, model)
    Worker(name="test").work(once=True)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "endpoint_key")


def test_a_launcher_that_hands_no_secret_down_gets_no_such_run(project, api, monkeypatch):
    monkeypatch.setattr("training.runs.launchers.local.TAKES_SECRETS", False)
    run = order(project, register(project, api))
    Worker(name="test").work(once=True)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "launcher_secrets")


def test_the_directory_says_where_to_ask_and_no_key(project, api):
    run = order(project, register(project, api))
    spec = preparation.prepare(run).spec()
    assert spec.parent == "" and spec.endpoints["parent"]["url"] == api.url
    assert spec.endpoints["parent"]["concurrency"] == 6 and Decimal(spec.endpoints["parent"]["prompt_price"]) == 2
    assert KEY not in (run.path / "config.json").read_text()


def test_directories_of_before_are_read(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.create(RunSpec("sample", {}))
    told = json.loads((tmp_path / "config.json").read_text())
    del told["endpoints"]
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert directory.spec().endpoints == {}


def test_weights_are_still_wanted_where_they_are_read(project, api):
    model = register(project, api)
    with pytest.raises(Refused) as refused:
        order(project, model, kind="sft", dataset=make_dataset(project, kind="sft"), config={})
    assert "weights of theirs are not on this machine" in refused.value.errors["parent"]


def test_a_model_with_both_is_asked_and_trained_from(project, api, data_folder):
    weights = make_weights()
    weights.endpoint, weights.served_name = api.url, "small"
    weights.save()
    asked = order(project, weights)
    assert preparation.prepare(asked).spec().endpoints["parent"]["model"] == "small"
    trained = order(project, weights, kind="sft", name="child", dataset=make_dataset(project, kind="sft"), config={})
    assert trained.parent == weights


def test_the_form_of_sampling_offers_models_behind_endpoints(project, api, client):
    model = register(project, api)
    client.force_login(make_user(project, role="researcher"))
    page = client.get(f"/p/{project.slug}/runs/new/sample/?parent={model.pk}").content.decode()
    assert f'<option value="{model.pk}" selected>' in page and 'value="77"' in page
    assert f'<option value="{model.pk}"' not in client.get(f"/p/{project.slug}/runs/new/sft/").content.decode()


def test_a_dump_by_django_holds_no_key(project, api, tmp_path):
    register(project, api)
    management.call_command("dumpdata", "annotate", output=str(tmp_path / "dump.json"))
    assert KEY not in (tmp_path / "dump.json").read_text()
