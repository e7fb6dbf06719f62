"""Corpora on the site: who may read which files, what a run is handed, the catalogue, uploads and the report."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import Demonstration, Flag
from tests.support.api_client import Program
from tests.support.factories import make_completion, make_model, make_project, make_prompt, make_user, sign_in
from training import configs
from training.configs.corpus_sources import read_orders
from training.core.endings import explain
from training.core.run_directory import RunDirectory, read_lines
from training.corpora import actions as corpora
from training.corpora.catalogue import CATALOGUE
from training.models import Attempt, Run
from training.runs.ordering.actions import queue_run
from training.runs.queue import outputs, supervision
from training.runs.queue.preparation import prepare

pytestmark = pytest.mark.django_db


@pytest.fixture
def researcher(project, client: Client):
    return sign_in(client, project, "researcher")


def order(project, by, **config) -> Run:
    return queue_run(kind="corpus", project=project, name=f"corpus {Run.objects.count()}", by=by, config=config)


def test_only_the_projects_uploads_and_the_operators_folders_may_be_named(project, researcher, settings, tmp_path):
    settings.CORPUS_FOLDERS = [tmp_path / "more"]
    for folder in (settings.DATA_DIR / "corpora", tmp_path / "more", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("text")
    for allowed in ("a.txt", str(tmp_path / "more" / "a.txt"), "*.txt"):
        assert order(project, researcher, sources=allowed).state == "queued"
    for refused in (str(tmp_path / "elsewhere" / "a.txt"), str(settings.DATA_DIR / "secret-key.txt"), "absent.txt"):
        with pytest.raises(Refused) as raised:
            order(project, researcher, sources=refused)
        assert raised.value.status == 400 and refused in raised.value.errors["config.sources"]


def test_another_projects_uploads_are_none_of_ours(project, researcher, settings):
    other = make_project()
    theirs = corpora.upload(project=other, file=upload_of("theirs.txt"), by=make_user(other, role="researcher"))
    place = corpora.upload_folder(other) / theirs.name
    assert [file.name for file in corpora.files(other)] == ["theirs.txt"] and corpora.files(project) == []
    for name in (theirs.name, str(place), f"corpus-uploads/{other.slug}/theirs.txt"):
        with pytest.raises(Refused):
            order(project, researcher, sources=name)


def test_a_run_is_handed_its_folders_and_every_text_that_ranks_models(project, researcher):
    asked, told = make_prompt(project, side="eval"), make_prompt(project, side="train")
    answer = make_completion(asked, "An answer that ranks a model.")
    make_completion(told, "An answer that may train.")
    Flag.objects.create(
        project=project, prompt=told, completion=make_completion(told, "Vile."), author=researcher, reason="x"
    )
    for prompt, text in ((asked, "A reference."), (told, "A demonstration.")):
        Demonstration.objects.create(project=project, prompt=prompt, author=researcher, judge="person", text=text)
    make_completion(make_prompt(make_project(), side="eval"), "Another project's.")
    run = order(project, researcher, sources="app:answers\napp:demonstrations")
    prepare(run)
    handed = {
        name: list(read_lines(run.path / "data" / f"{name}.jsonl")) for name in ("folders", "app_texts", "eval_texts")
    }
    assert {row["text"] for row in handed["eval_texts"]} == {asked.text, answer.text, "A reference."}
    assert handed["app_texts"] == [
        {"text": "An answer that may train.", "source": "answers"},
        {"text": "A demonstration.", "source": "demonstrations"},
    ]
    assert handed["folders"][0]["folder"] == str(corpora.upload_folder(project))
    without = order(project, researcher, evaluation_texts=False)
    assert corpora.rows(without)["eval_texts"] == [] and corpora.rows(without)["app_texts"] == []


def test_a_worker_that_died_while_laying_the_rows_costs_no_text_that_must_not_be_learnt(project, researcher):
    prompt = make_prompt(project, side="eval")
    run = order(project, researcher)
    prepare(run)
    for lost in ("data/eval_texts.jsonl", "config.json"):  # what comes after data/folders.jsonl
        (run.path / lost).unlink()
    prepare(run)
    assert [row["text"] for row in read_lines(run.path / "data" / "eval_texts.jsonl")] == [prompt.text]
    make_prompt(project, side="eval")
    prepare(run)  # an attempt that goes on has the rows of the first
    assert len(list(read_lines(run.path / "data" / "eval_texts.jsonl"))) == 1


def upload_of(name: str, content: bytes = b"Once upon a time.") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_a_file_is_uploaded_once_and_can_be_named_at_once(client, project, researcher):
    address = reverse("corpus-upload", args=[project.slug])
    assert client.post(address, {"file": upload_of("tales.txt")}).status_code == 302
    page = client.get(reverse("catalogue", args=[project.slug])).content.decode()
    assert "tales.txt" in page and "uploaded to this project, 17 bytes" in page
    assert order(project, researcher, sources="tales.txt").state == "queued"
    again = client.post(address, {"file": upload_of("tales.txt", b"Other words.")})
    assert again.status_code == 409 and "There is already a tales.txt" in again.content.decode()
    assert (corpora.upload_folder(project) / "tales.txt").read_bytes() == b"Once upon a time."
    assert [path.name for path in corpora.upload_folder(project).iterdir()] == ["tales.txt"], "nothing half-written"


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("tales.pdf", b"x", 400),
        (".hidden.txt", b"x", 400),
        ("with space.txt", b"x", 400),
        ("empty.txt", b"", 400),
        ("long.txt", b"x" * 101, 413),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(client, project, researcher, monkeypatch, name, content, status):
    monkeypatch.setattr(corpora, "LARGEST_UPLOAD", 100)
    answer = client.post(reverse("corpus-upload", args=[project.slug]), {"file": upload_of(name, content)})
    assert answer.status_code == status and "<strong>file</strong>" in answer.content.decode()
    assert corpora.files(project) == []


def test_a_name_that_leads_elsewhere_stays_in_the_folder(client, project, researcher):
    client.post(reverse("corpus-upload", args=[project.slug]), {"file": upload_of("../../escape.txt")})
    assert [file.name for file in corpora.files(project)] == ["escape.txt"]


def test_who_may_not_start_runs_uploads_nothing_and_sees_no_file(client, project, researcher):
    client.post(reverse("corpus-upload", args=[project.slug]), {"file": upload_of("tales.txt")})
    client = Client()
    client.force_login(make_user(project))
    page = client.get(reverse("catalogue", args=[project.slug])).content.decode()
    assert "allenai/c4" in page and "tales.txt" not in page and "Upload" not in page
    assert client.post(reverse("corpus-upload", args=[project.slug]), {"file": upload_of("b.txt")}).status_code == 403
    private = make_project(is_public=False)
    assert client.get(reverse("catalogue", args=[private.slug])).status_code == 404


def test_programs_see_and_upload_files_too(project, researcher):
    program = Program(researcher)
    sent = program.http.post(
        "/api/v1/corpora/", {"project": project.slug, "file": upload_of("tales.jsonl", b'{"text": "x"}\n')}
    )
    assert (sent.status_code, sent.json()) == (201, {"name": "tales.jsonl", "bytes": 14, "is_own": True})
    body = program.get("corpora/", project=project.slug).json()
    assert body["files"] == [sent.json()]
    assert {"hub:allenai/c4/en:train", "hub:wikimedia/wikipedia/20231101.en:train"} <= {
        row["line"] for row in body["hub"]
    }
    assert program.get("corpora/").status_code == 400
    assert Program(make_user(project)).get("corpora/", project=project.slug).status_code == 403


def test_every_entry_of_the_catalogue_fills_a_form_that_is_valid(client, project, researcher):
    address = reverse("new-run", args=[project.slug, "corpus"])
    page = client.get(reverse("catalogue", args=[project.slug])).content.decode()
    for entry in CATALOGUE:
        (found,) = read_orders(entry.line)
        assert (found.name, found.config, found.split) == (entry.name, entry.config, entry.split)
        filled = {name.removeprefix("config."): value for name, (value,) in parse_qs(entry.query()).items()}
        filled["max_documents"] = int(filled["max_documents"])
        assert configs.parse("corpus", filled)
        assert f"{address}?{entry.query()}".replace("&", "&amp;") in page
    form = client.get(f"{address}?{CATALOGUE[0].query()}").content.decode()
    assert CATALOGUE[0].line in form and 'value="100000"' in form
    assert {urlsplit(entry.card).netloc for entry in CATALOGUE} == {"huggingface.co"}


RESULT = {
    "hash": "c" * 64,
    "counts": {"documents": 9, "train": 8, "validation": 1, "left_out": {"Quality (Gopher)": 3}},
    "report": {
        "read": {"documents": 12, "bytes": 12_000},
        "kept": {"documents": 9, "bytes": 9_000},
        "validation": {"documents": 1, "bytes": 1_000},
        "unreadable": 0,
        "rules": [
            {
                "name": "gopher_quality",
                "title": "Quality (Gopher)",
                "removed": {"documents": 3, "bytes": 3_000},
                "changed": {"documents": 0, "bytes": 0},
                "reasons": [["too few words", 3]],
                "samples": [{"source": "a.txt", "why": "too few words: 4 words", "text": "Buy <b>shoes</b> here now"}],
                "changes": [],
            }
        ],
        "sources": [],
        "evaluation": {"texts": 20, "too_short": 5},
    },
}


def ended(project, by) -> Run:
    """A corpus run whose recipe has just ended well, recorded as the worker records it."""
    run = order(project, by)
    Run.objects.filter(pk=run.pk).update(state="running", started_at=timezone.now())
    lease = timezone.now() + timedelta(minutes=1)
    attempt = Attempt.objects.create(run=run, number=1, worker="w@h:1:1:1", launcher="local", lease_expires_at=lease)
    directory = RunDirectory(run.path)
    directory.path.mkdir(parents=True)
    (directory.begin_dataset() / "train-00000.jsonl").write_text('{"text": "one", "source": "a.txt"}\n')
    directory.commit_dataset()
    directory.finish(RESULT)
    made = outputs.gather(run, directory)
    supervision.conclude(attempt, explain(0, directory), lambda held: outputs.record(held, made))
    return Run.objects.get(pk=run.pk)


def test_the_dataset_that_a_run_made_tells_what_became_of_the_texts(client, project, researcher):
    run = ended(project, researcher)
    assert run.output_dataset is not None and run.output_dataset.kind == "corpus"
    assert (run.output_dataset.path / "train-00000.jsonl").exists()
    for address in (reverse("run", args=[run.pk]), reverse("dataset", args=[run.output_dataset.pk])):
        page = client.get(address).content.decode()
        assert "12 documents of 12 kB were read" in page and "20 evaluation texts; 5 of these are too short" in page
        assert "too few words: 3" in page and "Buy &lt;b&gt;shoes&lt;/b&gt; here now" in page
    client.force_login(make_user(project))
    for address in (reverse("run", args=[run.pk]), reverse("dataset", args=[run.output_dataset.pk])):
        page = client.get(address).content.decode()
        assert "too few words: 3" in page and "shoes" not in page, "the texts are for reviewers"


def test_a_running_corpus_shows_the_report_of_its_last_checkpoint(client, project, researcher):
    run = order(project, researcher)
    assert "Cleaning report" not in client.get(reverse("run", args=[run.pk])).content.decode()
    directory = RunDirectory(run.path)
    (directory.begin_checkpoint(12) / "report.json").write_text(json.dumps(RESULT["report"]))
    directory.commit_checkpoint(12)
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "It is updated at each checkpoint." in page and "12 documents of 12 kB" in page


def test_a_tokenizers_page_shows_how_it_fits(client, project, researcher):
    fit = {"tokens_per_word": 1.25, "bytes_per_token": 4.0}
    report = {
        "sources": [{"source": "all sources", "tokens": 50, "words": 40, "bytes": 200, **fit}],
        "longest_tokens": ["·implementation"],
        "unused_tokens": ["·implem"],
        "samples": [{"source": "a.txt", "tokens": ["On", "ce", " upon"]}],
    }
    result = {**fit, "unused_share": 0.03, "report": report}
    run = Run.objects.create(
        kind="tokenizer", name="t", project=project, state="succeeded", result=result, created_by=researcher,
        output_model=make_model(kind="tokenizer"),
    )  # fmt: skip
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "a word has <strong>1.25</strong> tokens" in page and "<span>ce</span><span> upon</span>" in page
    assert "3 % of the merged tokens are never used" in page and "·implementation" in page
