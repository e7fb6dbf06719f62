"""The Python client against the API itself, in one process: data in, a dataset frozen, runs and experiments ordered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from annotate.projects.accounts.actions import sign_in
from config.client.package import load_schema
from config.client.schema_types import Components
from tests.support.annotate.importing import work_off_imports
from tests.support.crawl import routes
from tests.support.everything import one_of_everything
from tests.support.factories import PASSWORD, make_user
from tests.support.python_client import InProcess
from tests.support.training.runs import make_weights


@pytest.fixture
def assay(db, assay_client, project) -> Iterator[Any]:
    """A client of a manager; while it waits, the background worker takes in files."""
    manager = make_user(project, role="manager", username="rita")
    with assay_client.Assay(
        "http://testserver", sign_in(manager), transport=InProcess(), sleep=lambda seconds: work_off_imports()
    ) as client:
        yield client


def test_a_file_becomes_a_dataset_and_the_dataset_an_order(assay, project, tmp_path):
    pairs = [{"prompt": f"Why, {n}?", "chosen": f"So, {n}.", "rejected": "No."} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in pairs))
    lines: list[str] = []
    brought = assay.imports.create(project=project.slug, file=tmp_path / "pairs.jsonl", format="trl-preference")
    brought = assay.follow(brought, on_progress=lines.append)
    assert brought.counts["comparisons"] == 40 and "queued" in lines[0]
    assert "done, 40" in lines[-1] and "40 prompts" in lines[-1]

    prompts = list(assay.prompts.list(project=project.slug, page_size=7))
    assert len({prompt.id for prompt in prompts}) == 40 and prompts[0].messages[0].content.startswith("Why, ")
    dataset = assay.follow(assay.datasets.create(project=project.slug, kind="preferences", name="pairs"))
    with assay.datasets.export(dataset.id, format="trl-preference") as export:
        assert {"prompt", "chosen", "rejected"} <= next(export.rows()).keys()

    parent = make_weights()
    best = assay.datasets.create(project=project.slug, kind="sft", name="better answers")
    run = assay.runs.create(kind="sft", project=project.slug, name="child", parent=parent.pk, dataset=best.id)
    assert (run.state, run.parent, assay.runs.cancel(run.id).state) == ("queued", parent.pk, "cancelled")
    arms = [{"method": "sft"}, {"method": "dpo", "config": {"beta": 0.2}}]
    experiment = assay.experiments.create(
        project.slug, name="methods", parent=parent.pk, dataset=dataset.id, arms=arms, seeds=2, votes_per_pair=4
    )
    again = assay.experiments.get(project.slug, experiment.id)
    assert again.project == project.slug and [arm.method for arm in again.arms] == ["base", "sft", "dpo"]


def test_rows_are_sent_and_read_as_they_are_typed(assay, project, assay_client):
    rows = [{"project": project.slug, "text": f"What is {n}?"} for n in range(3)]
    created = assay.prompts.create(rows=rows, idempotency_key="rows-1")
    assert [p.id for p in created] == [p.id for p in assay.prompts.create(rows=rows, idempotency_key="rows-1")]
    changed = assay.prompts.update(created[0].id, category="numbers")
    assert changed.category == "numbers" and changed.created_at.tzinfo is not None
    with pytest.raises(assay_client.Refused) as refused:
        assay.datasets.create(project=project.slug, kind="sft", name="a", per_prompt=-1)
    assert refused.value.field == "per_prompt" and refused.value.remedy
    with pytest.raises(assay_client.NotFound, match="no run 99"):
        assay.runs.get(99)


def test_a_name_and_a_password_sign_in(assay, assay_client):
    token = assay.auth.token(username="rita", password=PASSWORD).token
    visitor = assay_client.Assay("http://testserver", token, transport=InProcess())
    assert [p.slug for p in visitor.projects.list()]
    stranger = assay_client.Assay("http://testserver", "wrong", transport=InProcess())
    with pytest.raises(assay_client.NotSignedIn, match=r"POST auth/token/"):
        list(stranger.runs.list())


def test_all_that_can_be_read_is_as_the_client_types_it(assay, project, assay_client, client):
    """The schema is the client's word: an answer beside it would fail in a notebook."""
    client.force_login(make_user(project, role="manager", is_superuser=True))
    made, schema = one_of_everything(project), load_schema()
    components, names = Components(schema), vars(assay_client.models)
    described = {
        re.sub(r"{\w+}", "{}", path): methods["get"] for path, methods in schema["paths"].items() if "get" in methods
    }
    read = []
    for route in routes():
        operation = described.get("/" + re.sub(r"<\w+>", "{}", route.route), {"responses": {}})
        answer = client.get(route.address(made), {"project": project.slug}) if operation["responses"] else None
        if answer is None or answer.status_code != 200 or answer["Content-Type"] != "application/json":
            continue
        kind, sent = operation["responses"]["200"]["content"]["application/json"]["schema"], answer.json()
        if row := components.page_row(kind):
            kind, sent = {"type": "array", "items": row}, sent["results"]
        assay_client.decoding.decode(eval(components.python_type(kind, is_sent=False), names), sent, route.route)
        read.append(route.route)
    assert len(read) > 70, sorted(described)
