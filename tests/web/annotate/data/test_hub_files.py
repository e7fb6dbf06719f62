"""A dataset on a hub is looked at and added like a file, and what is wrong with the way to it is said at once.

The loader has a stand-in, for there is no hub here; the process that fetches, and its errors, are real.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.urls import reverse

from annotate.data.add_data import hub_files
from annotate.data.rows import hub_rows
from annotate.data.rows.hub_tasks import hub_task
from annotate.models import AuditEntry, Comparison, Import, Prompt
from tests.support.annotate.importing import look_at, work_off_imports
from tests.support.api_client import errors, program
from tests.support.factories import sign_in

pytestmark = pytest.mark.django_db
NO_NAMES = ("", "json", "imports", "/etc/passwd", "../imports/x", "a/b/c", "a/..", "a b/c")
PAIRS = [{"prompt": f"What is a tide, {n}?", "chosen": "The moon's pull.", "rejected": "No."} for n in range(3)]


@pytest.fixture
def loader(monkeypatch):
    """A loader that has `rows` for any name; `asked` holds what it was asked for."""
    loader = SimpleNamespace(rows=PAIRS, asked=[])

    def load(name: str, split: str, limit: int, path: Path) -> None:
        loader.asked.append((name, split, limit))
        path.write_text("".join(json.dumps(row) + "\n" for row in loader.rows[:limit]))

    monkeypatch.setattr(hub_files, "load", load)
    return loader


@pytest.fixture
def hub() -> Iterator[SimpleNamespace]:
    """A hub that has no dataset, and holds what it was asked for."""
    requests: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("Authorization")))
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", requests=requests)
    server.shutdown()
    server.server_close()


def test_a_dataset_is_looked_at_before_anything_of_it_is_added(client, project, loader):
    person = sign_in(client, project, "researcher")
    page = look_at(client, project, hub="trl-lib/tides", split="test", rows="2")
    assert loader.asked == [("trl-lib/tides", "test", 2)]
    assert page.context["draft"].file.name == "trl-lib/tides test.jsonl"
    assert dict(page.context["kinds"]) == {"comparisons": 2}
    assert not Import.objects.exists()
    address = reverse("add-data", args=[project.slug])
    client.post(address, {"draft": page.context["draft"].token})
    work_off_imports()
    assert Comparison.objects.count() == 2 and Import.objects.get().source == "trl-lib/tides test.jsonl"
    entry = AuditEntry.objects.get(action="hub.read")
    assert (entry.about, entry.actor, entry.project) == ("hub:trl-lib/tides test, 2 rows", person, project)


def test_its_columns_can_be_mapped(client, project, loader):
    sign_in(client, project, "researcher")
    loader.rows = [{"frage": "What is a tide?", "thema": "sea"}]
    page = look_at(client, project, hub="owner/questions")
    assert loader.asked == [("owner/questions", "train", hub_files.ROWS)] and not page.context["seen"].is_usable
    mapping = {"column:rows:frage": "prompt", "column:rows:thema": "category"}
    client.post(reverse("add-data", args=[project.slug]), {"draft": page.context["draft"].token, **mapping})
    work_off_imports()
    assert (Prompt.objects.get().text, Prompt.objects.get().category) == ("What is a tide?", "sea")


def test_a_dataset_that_is_known_brings_its_task_columns_and_labels(client, project, loader):
    sign_in(client, project, "researcher")
    loader.rows = [{"sentence": "Warm.", "label": 1, "idx": 0}, {"sentence": "Dull.", "label": 0, "idx": 1}]
    page = look_at(client, project, hub="glue/sst2")
    assert page.context["plan"].shape == "labelled" and page.context["plan"].task == "sentiment"
    assert [row["label"] for row in page.context["seen"].dataset_rows] == ["positive", "negative"]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        *(({"hub": name}, "hub") for name in NO_NAMES),
        ({"hub": "owner/name", "split": "train[:10]"}, "split"),
        ({"hub": "owner/name", "rows": "0"}, "rows"),
        ({"hub": "owner/name", "rows": "20001"}, "rows"),
        ({"hub": "owner/name", "rows": "many"}, "rows"),
    ],
)
def test_what_is_no_order_is_refused_and_the_form_keeps_it(client, project, loader, sent, field):
    sign_in(client, project, "researcher")
    page = look_at(client, project, **sent)
    assert page.status_code == 400 and list(page.context["errors"]) == [field] and not loader.asked
    assert page.context["hub"]["hub"] == sent["hub"] and not AuditEntry.objects.filter(action="hub.read").exists()


def test_it_is_for_researchers(client, project, loader):
    sign_in(client, project, "annotator")
    assert look_at(client, project, hub="owner/name").status_code == 403 and not loader.asked


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "This site is offline: HF_HUB_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}, "The hub http://127.0.0.1:9 cannot be reached"),
    ],
)
def test_without_a_hub_it_says_so_and_what_to_do_instead(client, project, monkeypatch, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sign_in(client, project, "researcher")
    page = look_at(client, project, hub="owner/name")
    assert page.status_code == 400 and words in page.context["errors"]["hub"]
    assert "download the dataset and send its files" in page.context["errors"]["hub"]


def test_the_hub_is_asked_without_the_operators_token(client, project, monkeypatch, hub):
    for name, value in {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_operators"}.items():
        monkeypatch.setenv(name, value)
    sign_in(client, project, "researcher")
    page = look_at(client, project, hub="owner/private")
    assert hub.requests == [("/api/datasets/owner/private", None)]
    assert page.status_code == 400 and "no public dataset owner/private" in page.context["errors"]["hub"]


def test_one_that_takes_too_long_is_given_up(client, project, monkeypatch):
    monkeypatch.setattr(hub_files, "SECONDS", 0.01)
    sign_in(client, project, "researcher")
    page = look_at(client, project, hub="owner/name")
    assert page.status_code == 504 and "Fetch fewer rows" in page.context["errors"]["hub"]


def test_a_program_freezes_rows_of_a_hub_as_the_page_does(project, loader):
    loader.rows = [{"sentence": "Warm.", "label": 1}, {"sentence": "Dull.", "label": 0}]
    researcher = program(project, "researcher")
    order = {"project": project.slug, "hub": "glue/sst2", "rows": 2, "kind": "labelled", "name": "feelings"}
    made = researcher.post("datasets/hub/", order)
    assert made.status_code == 201 and made.json()["rows"] == 2, made.json()
    assert loader.asked == [("glue/sst2", "train", 2)]
    assert researcher.post("datasets/hub/", order).status_code == 200, "these very rows are frozen already"
    assert "hub" in errors(researcher.post("datasets/hub/", order | {"hub": "../x"}))
    assert "rows" in errors(researcher.post("datasets/hub/", order | {"rows": 20_001}))
    assert program(project).post("datasets/hub/", order).status_code == 403


def test_a_program_imports_rows_of_a_hub(project, loader):
    order = {"project": project.slug, "hub": "trl-lib/tides", "split": "test", "rows": 2}
    made = program(project, "researcher").post("imports/hub/", order)
    assert made.status_code == 201 and made.json()["source"] == "trl-lib/tides test.jsonl", made.json()
    work_off_imports()
    assert Comparison.objects.count() == 2
    assert program(project).post("imports/hub/", order).status_code == 403 and len(loader.asked) == 1


class TestRows:
    @pytest.fixture
    def datasets(self, monkeypatch):
        """The package `datasets`, with `rows` under any name."""
        package = SimpleNamespace(rows=PAIRS, asked=[], __spec__=ModuleSpec("datasets", None))

        def load_dataset(path, config, **options):
            package.asked.append((path, config, options))
            if isinstance(package.rows, Exception):
                raise package.rows
            return SimpleNamespace(take=lambda n: iter(package.rows[:n]))

        package.load_dataset = load_dataset
        monkeypatch.setitem(sys.modules, "datasets", package)
        monkeypatch.setattr(hub_rows, "check_reachable", lambda dataset: None)
        return package

    def test_the_first_rows_are_written_as_json_lines(self, datasets, tmp_path):
        assert hub_rows.write_rows("owner/name:small", "test", 2, tmp_path / "rows.jsonl") == 2
        assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == PAIRS[:2]
        assert datasets.asked == [("owner/name", "small", {"split": "test", "streaming": True})]

    def test_a_folder_of_that_name_is_never_taken_for_it(self, datasets, tmp_path, monkeypatch):
        (tmp_path / "owner" / "name").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(hub_rows.HubProblem, match="folder of this machine"):
            list(hub_rows.stream(hub_task("owner/name"), "train", 1))
        assert not datasets.asked

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            (ValueError("Unknown split 'x'."), "Unknown split 'x'. Correct its config"),
            (RuntimeError("Dataset scripts are no longer supported\nat all"), "cannot be read: Dataset scripts are no"),
            ([], "has no rows"),
        ],
    )
    def test_what_the_loader_raises_is_told_in_a_line(self, datasets, tmp_path, rows, words):
        datasets.rows = rows
        with pytest.raises(hub_rows.HubProblem, match=words):
            hub_rows.write_rows("owner/name", "x", 5, tmp_path / "rows.jsonl")
