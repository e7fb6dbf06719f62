"""Rows from files: what is understood, what is told by line, what stays in the other split."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from annotate.core.errors import Refused
from annotate.data import frozen_rows
from annotate.data.datasets.frozen_exports import export
from annotate.data.rows.example_tasks import EXAMPLES
from annotate.data.uploads import actions as uploads
from annotate.models import Dataset
from common import splits
from tests.support.annotate.importing import add_by_page
from tests.support.factories import make_completion, make_project, make_prompt, make_user

pytestmark = pytest.mark.django_db
REVIEWS = [{"text": "Warm and funny.", "label": "positive"}, {"text": "Dull.", "label": "negative"}]


@pytest.fixture
def project():
    return make_project(eval_percent=0)


def lines(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def upload(project, content: bytes, *, kind="labelled", name="mine", file_name="rows.jsonl", **options):
    by = options.pop("by", None) or make_user(project, role="researcher")
    file = io.BytesIO(content)
    return uploads.upload(project=project, kind=kind, name=name, file=file, file_name=file_name, by=by, **options)


def rows_of(done, file="rows"):
    return list(frozen_rows.read(done.dataset.path, file))


def test_labelled_rows_are_frozen_under_the_hash_that_freezing_gives(project):
    done = upload(project, lines(REVIEWS))
    assert rows_of(done) == REVIEWS
    assert done.dataset.content_hash == frozen_rows.content_hash({"rows": REVIEWS}, kind="labelled", side="train")
    assert done.dataset.counts["labels"] == {"positive": 1, "negative": 1} and done.dataset.counts["rows"] == 2


def test_the_same_rows_again_give_the_same_dataset(project):
    first = upload(project, lines(REVIEWS))
    csv = b"label,text\npositive,Warm and funny.\nnegative,Dull.\n"
    again = upload(project, csv, file_name="rows.csv", name="another")
    assert again.dataset == first.dataset and not again.is_new
    assert Dataset.objects.count() == 1


def parquet(rows) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (lines(REVIEWS), "a.jsonl"),
        (json.dumps(REVIEWS).encode(), "a.json"),
        (b'text,label\nWarm and funny.,positive\n"Dull.",negative\n', "a.csv"),
        ("\ufefftext;label\r\nWarm and funny.;positive\r\nDull.;negative\r\n".encode(), "a.csv"),
        (b"text\tlabel\nWarm and funny.\tpositive\nDull.\tnegative\n", "a.tsv"),
        (parquet(REVIEWS), "a.parquet"),
    ],
    ids=["jsonl", "list", "csv", "semicolons", "tsv", "parquet"],
)
def test_every_format_packed_or_not_holds_the_same_rows(project, content, name, pack):
    done = upload(project, pack(content), file_name=name + (".gz" if pack is gzip.compress else ""))
    assert rows_of(done) == REVIEWS


def test_bad_lines_are_named_and_nothing_is_written(project, settings):
    content = b'{"text": "Good.", "label": "positive"}\n{"text": " ", "label": "x"}\nnot json\n["a"]\n{"text": "b"}\n'
    with pytest.raises(Refused) as refused:
        upload(project, content)
    errors = refused.value.errors
    assert "4 of 5 lines" in errors["file"]
    assert "empty text" in errors["line 2"] and "not JSON" in errors["line 3"]
    assert "object" in errors["line 4"] and "no text label" in errors["line 5"]
    assert not Dataset.objects.exists() and not list(settings.DATASETS_DIR.iterdir())


def test_at_most_fifty_bad_lines_are_named_and_all_are_counted(project):
    with pytest.raises(Refused) as refused:
        upload(project, lines(REVIEWS) + b"x\n" * 200)
    assert "200 of 202" in refused.value.errors["file"] and len(refused.value.errors) == 51


def test_bad_lines_may_be_left_out(project):
    done = upload(project, lines(REVIEWS) + b"x\n", skip_bad=True)
    assert rows_of(done) == REVIEWS and done.bad_count == 1
    assert done.dataset.counts["left_out"] == {"lines that could not be used": 1}


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"", "a.jsonl", "has no rows"),
        (b"\x1f\x8bbroken", "a.gz", "damaged"),
        (b"PAR1broken", "a.parquet", "cannot be read"),
        (b"a,a\n1,2\n", "a.csv", "name its columns"),
        (b"text,label\n\xff\xfe,x\n", "a.csv", "not UTF-8"),
        (b"[1, 2", "a.json", "not JSON"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused_in_words(project, content, name, why):
    with pytest.raises(Refused, match=why):
        upload(project, content, file_name=name)


def test_a_small_packed_file_cannot_fill_the_disk(project, monkeypatch):
    monkeypatch.setattr("annotate.data.rows.row_files.LARGEST_FILE", 10_000)
    with pytest.raises(Refused, match="split it") as refused:
        upload(project, gzip.compress(lines(REVIEWS) * 1000))
    assert refused.value.status == 413
    with pytest.raises(Refused, match="split it"):
        upload(project, parquet(REVIEWS * 1000), file_name="a.parquet")


def test_columns_and_labels_may_have_other_names(project):
    content = b"sentence,class\nWarm and funny.,1\nDull.,0\n"
    done = upload(
        project, content, file_name="a.csv",
        columns={"text": "sentence", "label": "class"}, labels={"1": "positive", "0": "negative"},
    )  # fmt: skip
    assert rows_of(done) == REVIEWS
    with pytest.raises(Refused, match="has no name"):
        upload(project, content + b"Fine.,2\n", file_name="a.csv", name="b", columns={"text": "sentence", "label": "class"}, labels={"1": "p", "0": "n"})  # fmt: skip  # noqa: E501


def test_a_task_is_found_by_its_columns(project):
    done = upload(project, lines([{"premise": "A dog runs.", "hypothesis": "It moves.", "label": "entailment"}]))
    assert done.dataset.counts["task"] == "nli"
    with pytest.raises(Refused, match="match no task"):
        upload(project, lines([{"colour": "red"}]), name="b")


def test_choices_come_as_list_or_cell_and_an_answer_may_be_a_letter(project):
    rows = [{"question": "What melts?", "choices": ["ice", "stone"], "answer": "A"}]
    assert rows_of(upload(project, lines(rows)))[0]["answer"] == "ice"
    cell = b"question,choices,answer\nWhat melts?,ice|stone,stone\n"
    assert rows_of(upload(project, cell, file_name="a.csv", name="b"))[0]["choices"] == ["ice", "stone"]
    for wrong in ("fire", "ß"):  # whose capital is two letters
        with pytest.raises(Refused, match="not one of its choices"):
            upload(project, lines([rows[0] | {"answer": wrong}]), name="c")


def test_the_forms_of_demonstrations(project):
    user, assistant = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
    rows = [
        {"messages": [user, assistant, {"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
        {"prompt": "Hi", "completion": "Hello."},
        {"prompt": [user], "completion": [assistant]},
        {"instruction": "Say it", "input": "twice", "output": "it it"},
    ]
    done = upload(project, lines(rows), kind="sft")
    made = rows_of(done, "examples")
    assert [len(row["prompt"]) for row in made] == [1, 3, 1, 1, 1, 1]
    assert made[1]["completion"] == "So." and made[1]["prompt"][:2] == [user, assistant]
    assert made[2] == made[3] == made[4] == {"prompt": [user], "completion": "Hello."}
    assert made[5]["prompt"][0]["content"] == "Say it\n\ntwice"
    assert done.dataset.counts["examples"] == 6


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, "nothing to learn"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "does not follow"),
        ({"messages": [{"role": "cat", "content": "Hi"}]}, "without a role"),
        ({"messages": []}, "no list of turns"),
        ({"prompt": "Hi", "completion": ""}, "empty completion"),
        ({"prompt": "Hi", "completion": [{"role": "user", "content": "x"}]}, "several turns"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "completion": "y"}, "does not end with the user"),
        ({"text": "x"}, "needs messages"),
        ({"prompt": "a\x00b", "completion": "c"}, "NUL"),
    ],
)
def test_a_demonstration_that_teaches_nothing_is_told(project, row, why):
    with pytest.raises(Refused, match=why):
        upload(project, lines([row]), kind="sft")


def test_prompts_of_the_eval_split_train_nothing():
    project = make_project(eval_percent=50)
    rows = [{"prompt": f"Question {i}", "completion": "So."} for i in range(40)]
    fall = [r for r in rows if splits.split_of([{"role": "user", "content": r["prompt"]}], 50) == splits.EVAL]
    done = upload(project, lines(rows), kind="sft")
    assert 0 < len(fall) < 40 and done.rows == 40 - len(fall)
    assert done.dataset.counts["left_out"] == {"whose prompt is in the eval split": len(fall)}
    assert all(splits.split_of(row["prompt"], 50) == splits.TRAIN for row in rows_of(done, "examples"))


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("sft", {"messages": [
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "why IS  the sea salt?"}, {"role": "assistant", "content": "Rivers."},
        ]}),
        ("labelled", {"text": "Why is the sea salt?", "label": "science"}),
        ("corpus", {"text": "why is the sea salt?"}),
    ],
)  # fmt: skip
def test_what_an_eval_prompt_asks_is_left_out_wherever_it_stands(project, kind, row):
    make_prompt(project, "Why is the sea salt?", side="eval")
    others = {
        "sft": [{"prompt": "Hi", "completion": "Yes?"}],
        "labelled": REVIEWS,
        "corpus": [{"text": "Once."}, {"text": "Twice."}],
    }[kind]
    done = upload(project, lines([*others, row]), kind=kind)
    assert done.dataset.counts["left_out"]["that contain a prompt of the eval split"] == 1


@pytest.mark.parametrize("kind", ["corpus", "labelled"])
def test_a_text_that_quotes_an_eval_prompt_or_an_answer_to_one_is_left_out(project, kind):
    question = "Explain in your own words, please, why the tides of the North Sea follow the Moon."
    answer = "Because the Moon is near, it pulls at the water on this side more than at the rest of the Earth."
    make_completion(make_prompt(project, question, side="eval"), answer)
    quoting = [f"He asked: {question.upper()} Nobody knew.", f"It says here: {answer} And so on."]
    harmless = ["The tides of the North Sea follow the Moon.", "Once there was a sea.", "Twice there was none."]
    rows = [{"text": text} | ({"label": "sea"} if kind == "labelled" else {}) for text in (*quoting, *harmless)]
    done = upload(project, lines(rows), kind=kind)
    assert done.dataset.counts["left_out"] == {"that share a passage with a text of the eval split": 2}


def test_a_corpus_holds_out_a_twentieth_by_hash(project):
    done = upload(project, lines({"text": f"Document {i}."} for i in range(400)), kind="corpus")
    train, held_out = rows_of(done, "train-00000"), rows_of(done, "validation")
    assert len(train) + len(held_out) == 400 and 8 <= len(held_out) <= 40
    assert not {row["text"] for row in train} & {row["text"] for row in held_out}
    assert len(list(export(done.dataset, "jsonl"))) == 400


def test_a_small_corpus_still_holds_one_out(project):
    done = upload(project, lines([{"text": "One."}, {"text": "Two."}, {"text": "Two."}]), kind="corpus")
    assert rows_of(done, "validation") and rows_of(done, "train-00000")
    with pytest.raises(Refused, match="two different texts"):
        upload(project, lines([{"text": "One."}] * 3), kind="corpus", name="b")


def test_only_researchers_upload_and_a_name_is_taken_once(project):
    with pytest.raises(Refused, match="role"):
        upload(project, lines(REVIEWS), by=make_user(project, role="annotator"))
    upload(project, lines(REVIEWS))
    with pytest.raises(Refused) as refused:
        upload(project, lines(REVIEWS[:1]))
    assert refused.value.status == 409 and "mine" in refused.value.errors["name"]


@pytest.mark.parametrize(
    ("options", "field"),
    [({"kind": "preferences"}, "kind"), ({"task": "poetry"}, "task"), ({"name": " "}, "name"),
     ({"kind": "corpus", "task": "nli"}, "task")],
)  # fmt: skip
def test_wrong_options_are_named(project, options, field):
    with pytest.raises(Refused) as refused:
        upload(project, lines(REVIEWS), **options)
    assert list(refused.value.errors) == [field]


def test_by_the_api(client, project):
    client.force_login(make_user(project, role="researcher"))
    fields = {"project": project.slug, "kind": "labelled", "name": "mine", "labels": "1=positive, 0=negative"}

    def send(content, **more):
        return client.post("/api/v1/datasets/upload/", fields | {"file": SimpleUploadedFile("a.csv", content)} | more)

    answer = send(b"text,label,id\nWarm.,1,7\nDull.,0,8\n")
    assert answer.status_code == 201, answer.content
    assert answer.json()["dataset"]["counts"]["labels"] == {"positive": 1, "negative": 1}
    assert answer.json()["ignored_columns"] == ["id"]
    assert send(b"text,label\nWarm.,1\nDull.,0\n").status_code == 200
    refused = send(b"text,label\n,1\n")
    assert refused.status_code == 400 and "empty text" in refused.json()["errors"]["line 2"]
    assert "not a pair" in send(b"", labels="x").json()["errors"]["labels"]
    assert client.get(f"/api/v1/datasets/{answer.json()['dataset']['id']}/export/").status_code == 200


def test_by_the_page(client, project):
    client.force_login(make_user(project, role="researcher"))
    bad = add_by_page(client, project, SimpleUploadedFile("a.csv", b"text,label\n,a\n"), name="x", **{"as": "labelled"})
    assert bad.status_code == 400 and "has an empty text" in bad.content.decode()
    good = add_by_page(client, project, SimpleUploadedFile("a.jsonl", lines(REVIEWS)), name="x", **{"as": "labelled"})
    html = good.content.decode()
    assert "is frozen: 2 rows" in html and "Warm and funny." in html and "positive" in html
    assert "2 labelled rows" in client.get(f"/p/{project.slug}/data/datasets/").content.decode()


def test_an_annotator_sees_no_upload(client, project):
    client.force_login(make_user(project, role="annotator"))
    assert client.get(f"/p/{project.slug}/data/upload/").status_code == 403


def test_by_the_command(project, tmp_path, capsys):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\nWarm.,1\nDull.,0\n")
    by = make_user(project, role="researcher").username
    options = {"project": project.slug, "kind": "labelled", "by": by}
    call_command("import_dataset", str(path), **options, labels="1=positive,0=negative", task="sentiment")
    assert "reviews.csv: 2 rows" in capsys.readouterr().out
    assert Dataset.objects.get().counts["task"] == "sentiment"
    with pytest.raises(CommandError, match="no file"):
        call_command("import_dataset", str(tmp_path / "none"), **options)
    path.write_text("text,label\n,1\n")
    with pytest.raises(CommandError, match="line 2: has an empty text"):
        call_command("import_dataset", str(path), **options)


@pytest.mark.parametrize("task", EXAMPLES)
def test_every_example_can_be_imported_without_a_bad_line(project, task, capsys):
    by = make_user(project, role="researcher").username
    options = {"project": project.slug, "by": by}
    call_command("import_dataset", f"example:{task}", kind="labelled", **options)
    made = Dataset.objects.get()
    assert made.counts["task"] == task and made.counts["rows"] >= 48 and not made.counts["left_out"]
    assert list(EXAMPLES[task]()) == list(EXAMPLES[task]()) == list(frozen_rows.read(made.path, "rows"))
    with pytest.raises(CommandError, match="one of these"):
        call_command("import_dataset", "example:poetry", kind="labelled", **options)


def test_hub_names_bring_their_columns_and_labels(project, monkeypatch, capsys):
    import datasets

    asked = []

    def load(path, config, **options):
        asked.append((path, config, options))
        rows = [{"sentence": "Warm.", "label": 1, "idx": 0}, {"sentence": "Dull.", "label": 0, "idx": 1}]
        return datasets.IterableDataset.from_generator(lambda: iter(rows))

    monkeypatch.setattr(datasets, "load_dataset", load)
    by = make_user(project, role="researcher").username
    call_command("import_dataset", "hub:glue/sst2", project=project.slug, kind="labelled", by=by, limit=1)
    made = Dataset.objects.get()
    assert list(frozen_rows.read(made.path, "rows")) == [{"text": "Warm.", "label": "positive"}]
    assert made.counts["task"] == "sentiment"
    assert asked == [("nyu-mll/glue", "sst2", {"split": "train", "streaming": True})]
