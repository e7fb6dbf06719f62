"""The Python client: what it sends, repeats, waits for and raises, against a server that answers as it is told."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tomllib
from types import ModuleType
from typing import Any

import httpx
import pytest

from config.client.operations_module import operations_module
from config.client.package import load_schema
from config.client.schema_types import Components
from tests.support.processes import ROOT
from tests.support.python_client import Script, answer, as_sent, write_python_client

PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml")


@pytest.fixture
def site(assay_client: ModuleType):
    """What calls, and what answers it; how long it waited is in `waits`."""

    def make(*answers: Any) -> tuple[Any, Script]:
        script = Script(list(answers))
        assay = assay_client.Assay("https://a.example", "secret", transport=script, sleep=script_waits.append)
        return assay, script

    script_waits: list[float] = []
    make.waits = script_waits  # type: ignore[attr-defined]
    return make


def run(assay_client: ModuleType, **known: Any) -> dict[str, Any]:
    return as_sent(assay_client.models.Run, id=7, name="first", state="queued") | known


def test_every_operation_has_a_method_of_its_own(assay_client):
    schema = load_schema()
    source = operations_module(schema, Components(schema))
    assert source.count("Call(method=") == sum(map(len, schema["paths"].values())) > 200
    twice: dict[str, Any] = {f"/api/v1/runs/{path}/": {"put": {"responses": {}}} for path in ("a", "{id}/a")}
    with pytest.raises(ValueError, match="both called replace_a"):
        operations_module({"paths": twice}, Components({"paths": {}, "components": {"schemas": {}}}))


def test_what_the_api_does_once_by_a_key_has_the_key_in_its_schema():
    """Without it no client sends one, and what `idempotent` guards is done again."""
    schema = load_schema()
    with_key = {
        path.removeprefix("/api/v1/")
        for path, operations in schema["paths"].items()
        for operation in operations.values()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    }
    judges = "projects/{slug}/judge-models/"
    assert {judges, f"{judges}{{id}}/rubrics/", f"{judges}{{id}}/datasets/", "runs/{id}/cancel/"} <= with_key


def test_choices_have_names_that_stay():
    """`State240Enum` is named by a hash: another choice elsewhere would rename it. ENUM_NAME_OVERRIDES names it."""
    assert not [name for name in load_schema()["components"]["schemas"] if re.search(r"[0-9a-f]{3}Enum$", name)]


def test_its_version_is_that_of_the_api_it_is_made_of():
    stated = [tomllib.loads((ROOT / path).read_text())["project"]["version"] for path in PROJECTS]
    assert stated[0] == stated[1]


def test_a_list_is_read_to_its_end_and_the_token_stays_at_its_site(site, assay_client):
    rows = [as_sent(assay_client.models.Prompt, id=n) for n in range(3)]
    following = "https://evil.example/api/v1/prompts/?category=&cursor=c2&page_size=2"  # those without a category
    assay, script = site(answer(200, {"next": following, "results": rows[:2]}), answer(200, {"results": rows[2:]}))
    assert [prompt.id for prompt in assay.prompts.list(project="p", page_size=2, category="")] == [0, 1, 2]
    assert [str(r.url) for r in script.requests] == [
        "https://a.example/api/v1/prompts/?category=&page_size=2&project=p",
        "https://a.example/api/v1/prompts/?category=&cursor=c2&page_size=2",
    ]
    assert {r.headers["Authorization"] for r in script.requests} == {"Token secret"}


def test_a_refusal_names_field_and_remedy(site, assay_client):
    assay, _ = site(answer(400, {"errors": {"name": "is taken; choose another."}}))
    with pytest.raises(assay_client.Refused) as refused:
        assay.datasets.create(project="p", kind="sft", name="a")
    assert (refused.value.field, refused.value.remedy) == ("name", "is taken; choose another.")
    assay, _ = site(answer(404, {"errors": {"run": "There is no run 9."}}), httpx.Response(502, text="<html>"))
    with pytest.raises(assay_client.NotFound):
        assay.runs.get(9)


def test_what_creates_is_repeated_with_one_key_and_the_same_bytes(site, assay_client):
    busy = answer(503, {"errors": {"server": "busy"}}, Retry_After="3")
    assay, script = site(busy, httpx.ReadError("cut"), answer(201, run(assay_client)))
    assert assay.runs.create(kind="sft", project="p", name="first", parent=None).id == 7
    assert len({r.headers["Idempotency-Key"] for r in script.requests}) == len(set(script.bodies)) == 1
    assert script.bodies[0] == b'{"kind": "sft", "project": "p", "name": "first", "parent": null}'
    assert site.waits[0] == 3 and 0.5 < site.waits[1] < 2


def test_what_could_happen_twice_is_not_repeated(site, assay_client):
    assay, script = site(httpx.ReadError("cut"))
    with pytest.raises(assay_client.Unreachable):
        assay.webhooks.test(7)
    event = as_sent(assay_client.models.Delivery, event="webhook.test")
    assay, script = site(httpx.ConnectError("refused"), answer(429, {}), answer(201, event))
    assert assay.webhooks.test(7).event == "webhook.test" and len(script.requests) == 3


def test_a_file_is_streamed_and_sent_again_from_where_it_began(site, assay_client):
    file = io.BytesIO(b"skipped" + b"x" * 3_000_000)
    file.seek(7)
    imported = as_sent(assay_client.models.FileImport, rate=0)
    assay, script = site(httpx.ReadError("cut"), answer(201, imported))
    assert assay.imports.create(project="p", file=file, dry_run=False).rate == 0.0
    assert script.largest <= 1 << 20 and len(set(script.bodies)) == 1
    fields = script.bodies[0].replace(b"x", b"")
    assert b'name="dry_run"\r\n\r\nfalse' in fields and b"skipped" not in fields
    with pytest.raises(ValueError, match="give a path"):
        assay.imports.create(project="p", file=_Pipe())


class _Pipe(io.RawIOBase):
    def seekable(self) -> bool:
        return False


def test_a_figure_that_is_being_computed_is_waited_for(site, assay_client):
    computing, combined = (
        {"detail": "", "stage": "votes", "percent": 10},
        as_sent(assay_client.models.Combined, votes=3),
    )
    assay, script = site(answer(202, computing), answer(202, computing), answer(200, combined))
    assert assay.leaderboard.with_judge(project="p", judge_model=1).votes == 3
    assert len(script.requests) == 3 and site.waits == [0.5, 1.0]


def test_a_freeze_is_followed_to_its_dataset(site, assay_client):
    models = assay_client.models
    order = as_sent(models.Freeze, id=3, name="pairs", state="queued")
    done = order | {"state": "done", "percent": 100, "dataset": 5}
    assay, _ = site(
        answer(202, order), answer(200, order), answer(200, done), answer(200, as_sent(models.Dataset, id=5))
    )
    lines: list[str] = []
    assert assay.follow(assay.datasets.create(project="p", kind="sft", name="pairs"), on_progress=lines.append).id == 5
    assert lines == ["dataset 'pairs': queued, 0 %", "dataset 'pairs': done, 100 %"]


def test_a_run_that_fails_says_why_and_what_to_do(site, assay_client):
    failed = {"state": "failed", "reason": "Out of memory.", "remedy": "Lower batch_size."}
    assay, _ = site(*(answer(200, run(assay_client, **known)) for known in ({}, {"state": "running"}, failed)))
    with pytest.raises(assay_client.WorkFailed, match=r"Out of memory\. Lower batch_size.") as raised:
        assay.follow(assay.runs.get(7))
    assert raised.value.work.state == "failed"


def test_an_answer_of_another_version_is_read_as_far_as_it_goes(site, assay_client):
    assay, _ = site(*(answer(200, run(assay_client, **known)) for known in ({"new": 1, "state": "odd"}, {"step": "x"})))
    assert assay.runs.get(7).state == "odd"
    with pytest.raises(assay_client.UnexpectedAnswer, match="step is 'x', not int"):
        assay.runs.get(7)


@pytest.mark.slow
def test_the_package_is_typed_strictly(tmp_path):
    """And so is the example."""
    folder = write_python_client(tmp_path / "client")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "assay_client", "examples/first_loop.py"]
    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
