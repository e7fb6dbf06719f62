"""Task files: items to measure models on, in five forms; what is wrong is told by line, and nothing is taken."""

from __future__ import annotations

import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.data import frozen_rows
from annotate.data.datasets.frozen_exports import export
from annotate.data.uploads import actions as uploads
from annotate.models import Dataset
from common import splits
from tests.support.annotate.importing import add_by_page
from tests.support.api_client import program
from tests.support.factories import make_project, make_prompt, make_user

pytestmark = pytest.mark.django_db
CHOICES = [
    {"context": "Ice in the sun", "choices": ["melts", "sings"], "answer": 0, "group": "physics"},
    {"context": "A dog", "choices": ["reads", "barks"], "answer": "barks", "group": "animals"},
]
REFERENCES = [
    {"prompt": "Name a colour.", "references": ["Green.", "Red.", "Green."]},
    {"prompt": [{"role": "user", "content": "Name a fruit."}], "references": ["A pear."]},
]
TEXTS = [{"text": "Once upon a time."}, {"text": "The end.", "group": "ends"}]
LABELLED = [{"text": "Warm and funny.", "label": "positive"}, {"text": "Dull.", "label": "negative"}]

PAIRS = [
    {"prompt": "Name a colour.", "chosen": "Green.", "rejected": "No.", "group": "colours"},
    {"prompt": [{"role": "user", "content": "Name a fruit."}], "chosen": "A pear.", "rejected": "A chair."},
]


@pytest.fixture
def project():
    return make_project(eval_percent=0)


def upload(project, rows, *, name="mine", file_name="rows.jsonl", **options):
    content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
    by = options.pop("by", None) or make_user(project, role="researcher")
    file = io.BytesIO(content)
    return uploads.upload(project=project, kind="task", name=name, file=file, file_name=file_name, by=by, **options)


def items_of(dataset):
    return list(frozen_rows.read(dataset.path, "items"))


def refusal(project, rows, **options) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        upload(project, rows, **options)
    assert not Dataset.objects.exists()
    return refused.value.errors


@pytest.mark.parametrize(
    ("rows", "form"),
    [(CHOICES, "choices"), (REFERENCES, "references"), (TEXTS, "texts"), (LABELLED, "labelled"), (PAIRS, "pairs")],
)
def test_the_first_row_decides_the_form_and_the_rows_lie_on_the_eval_split(project, rows, form):
    dataset = upload(project, rows).dataset
    assert (dataset.kind, dataset.side) == ("task", "eval")
    assert dataset.counts["form"] == form and dataset.counts["items"] == 2
    assert len(items_of(dataset)) == 2


def test_references_become_a_conversation_and_different_good_answers(project):
    first, second = items_of(upload(project, REFERENCES).dataset)
    assert first == {"prompt": [{"role": "user", "content": "Name a colour."}], "references": ["Green.", "Red."]}
    assert second["prompt"] == [{"role": "user", "content": "Name a fruit."}]


def test_one_reference_or_a_completion_will_do_and_columns_may_be_named(project):
    dataset = upload(project, b"source,target\nGood morning,Guten Morgen\n", file_name="rows.csv",
                     columns={"prompt": "source", "reference": "target"}).dataset  # fmt: skip
    assert items_of(dataset)[0]["references"] == ["Guten Morgen"]
    dataset = upload(project, [{"prompt": "Name a colour.", "completion": "Green."}], name="other").dataset
    assert items_of(dataset)[0]["references"] == ["Green."]


def test_groups_are_counted(project):
    assert upload(project, CHOICES).dataset.counts["groups"] == {"physics": 1, "animals": 1}


def test_a_public_form_is_kept_as_it_was_given(project):
    row = {"sentence_good": "The cats sleep.", "sentence_bad": "The cats sleeps.", "UID": "agreement", "pairID": "7"}
    [item] = items_of(upload(project, [row]).dataset)
    assert item.items() >= row.items()
    assert (item["group"], item["id"]) == ("agreement", "agreement-7")


def test_the_same_item_twice_counts_once_and_is_told(project):
    done = upload(project, [*TEXTS, TEXTS[0]])
    assert done.rows == 2
    assert done.dataset.counts["left_out"] == {"that are in the file twice": 1}


def test_nothing_is_kept_out_for_what_the_eval_split_asks(project):
    make_prompt(project, "Name a colour.", side="eval")
    assert upload(project, REFERENCES).rows == 2


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"context": "A dog", "choices": ["barks", "reads"]}, "no answer"),
        ({"context": "A dog", "choices": ["barks", "barks"], "answer": 0}, "two equal candidates"),
        ({"context": "A dog", "choices": ["barks"], "answer": 0}, "give between 2"),
        ({"context": "A dog", "choices": ["barks", "reads"], "answer": 2}, "an index from 0 to 1"),
    ],
)
def test_what_is_wrong_with_a_choice_is_told_by_its_line(project, row, told):
    errors = refusal(project, [CHOICES[0], row])
    assert told in errors["line 2"]
    assert "1 of 2 lines cannot be used" in errors["file"] and "skip_bad" in errors["file"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "Name a fruit.", "references": ["A pear.", " "]}, "an empty reference (2)"),
        ({"prompt": "Name a fruit.", "references": []}, "has no references"),
        ({"prompt": "Name a fruit."}, "has no references"),
        ({"prompt": "", "references": ["A pear."]}, "has no prompt"),
        ({"prompt": "Name a fruit.", "references": [3]}, "that is not text"),
        ({"prompt": [{"role": "assistant", "content": "Hi"}], "references": ["A pear."]}, "end with the user's turn"),
    ],
)
def test_what_is_wrong_with_references_is_told_by_its_line(project, row, told):
    assert told in refusal(project, [REFERENCES[0], row])["line 2"]


def test_an_empty_text_and_a_missing_label_are_told(project):
    assert "empty text" in refusal(project, [TEXTS[0], {"text": "  "}])["line 2"]
    assert "no label" in refusal(project, [LABELLED[0], {"text": "Fine."}])["line 2"]
    assert "no label" in refusal(project, [{"text": "Fine.", "label": ""}])["line 1"]


def test_a_row_of_another_form_is_refused_by_its_line(project):
    assert "has the form texts, but the first row has choices" in refusal(project, [CHOICES[0], TEXTS[0]])["line 2"]


def test_rows_that_fit_no_form_are_told_the_forms(project):
    told = refusal(project, [{"question": "Why?"}])["line 1"]
    assert "the fields question" in told and "references" in told and "choices" in told


def test_an_id_tells_items_apart(project):
    errors = refusal(project, [{"text": "One.", "id": "a"}, {"text": "Two.", "id": "a"}])
    assert "has the id 'a'" in errors["line 2"]


def test_bad_lines_are_left_out_only_when_asked_and_are_counted(project):
    done = upload(project, [*TEXTS, {"text": ""}], skip_bad=True)
    assert done.rows == 2 and done.dataset.counts["left_out"] == {"lines that could not be used": 1}


def test_a_task_trains_nothing(project):
    from training.core.kinds import KINDS

    assert not any(kind.dataset_kind == "task" for kind in KINDS.values())
    taking = [name for name, kind in KINDS.items() if "task" in kind.other_kinds]
    assert taking and not any(KINDS[name].makes for name in taking)


def test_a_task_can_be_downloaded_again_as_it_lies(project):
    dataset = upload(project, TEXTS).dataset
    assert [json.loads(line) for line in export(dataset, "jsonl")] == TEXTS
    again = upload(project, "".join(export(dataset, "jsonl")).encode(), name="again")
    assert again.dataset == dataset and not again.is_new


def test_the_hash_of_a_task_is_of_its_side(project):
    dataset = upload(project, TEXTS).dataset
    assert dataset.content_hash == frozen_rows.content_hash({"items": TEXTS}, kind="task", side=splits.EVAL)


def test_a_task_comes_by_the_page_and_shows_its_first_rows(client, project):
    client.force_login(make_user(project, role="researcher"))
    page = client.get(reverse("upload", args=[project.slug]) + "?kind=task", follow=True).content.decode()
    assert 'name="as" value="task"' in page and "references" in page
    file = SimpleUploadedFile("rows.jsonl", "".join(json.dumps(row) + "\n" for row in REFERENCES).encode())
    sent = add_by_page(client, project, file, name="colours", **{"as": "task"}).content.decode()
    assert "colours" in sent and "user: Name a colour." in sent and "Red." in sent
    listed = client.get(reverse("datasets", args=[project.slug])).content.decode()
    assert "2 items (references)" in listed
    assert f"other_dataset={Dataset.objects.get().pk}" in sent  # what to do with it


def test_a_bad_file_is_told_on_the_page_and_leaves_nothing(client, project):
    client.force_login(make_user(project, role="researcher"))
    file = SimpleUploadedFile("rows.jsonl", b'{"context": "A dog", "choices": ["barks", "barks"], "answer": 0}\n')
    response = add_by_page(client, project, file, name="dogs", **{"as": "task"})
    assert response.status_code == 400 and "two equal candidates" in response.content.decode()
    assert not Dataset.objects.exists()


def test_a_task_comes_by_the_api(project):
    client = program(project, role="researcher")
    file = SimpleUploadedFile("rows.jsonl", "".join(json.dumps(row) + "\n" for row in CHOICES).encode())
    body = {"project": project.slug, "kind": "task", "name": "endings", "file": file}
    made = client.http.post("/api/v1/datasets/upload/", body, format="multipart")
    assert made.status_code == 201, made.json()
    assert made.json()["dataset"]["side"] == "eval" and made.json()["dataset"]["counts"]["form"] == "choices"


def test_a_task_comes_by_the_command(project, tmp_path, capsys):
    file = tmp_path / "tales.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    by = make_user(project, role="researcher")
    call_command("import_dataset", str(file), project=project.slug, kind="task", by=by.username)
    assert "tales.jsonl: 2 rows" in capsys.readouterr().out


def test_who_may_not_review_sees_no_rows(client, project):
    dataset = upload(project, TEXTS).dataset
    client.force_login(make_user(project, role="annotator"))
    page = client.get(reverse("dataset", args=[dataset.pk])).content.decode()
    assert "Once upon a time" not in page and "Only reviewers see" in page


def test_a_pair_of_transcripts_is_taken_apart_at_what_they_share(project):
    text = "\n\nHuman: Name a colour.\n\nAssistant:"
    rows = [{"chosen": f"{text} Green.", "rejected": f"{text} No."}]
    [first] = items_of(upload(project, rows).dataset)
    assert first == {"prompt": [{"role": "user", "content": "Name a colour."}], "chosen": "Green.", "rejected": "No."}


@pytest.mark.parametrize(("row", "told"), [
    ({"prompt": "a", "chosen": "b", "rejected": " b "}, "two equal answers"),
    ({"prompt": "a", "chosen": "b", "rejected": ""}, "rejected"),
    ({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}], "chosen": "b",
      "rejected": "c"}, "does not end with the user's turn"),
    ({"chosen": "b", "rejected": "c"}, "not transcripts with a common prompt"),
    ({"chosen": 5, "rejected": "c"}, "a chosen that is not text: 5.'"),
])  # fmt: skip
def test_a_pair_of_which_neither_can_be_better_is_refused(project, row, told):
    assert told in str(refusal(project, [PAIRS[0], row]))


PUBLIC = [
    {
        "sentence": "The dog chased the cat because _ was angry.",
        "option1": "the dog",
        "option2": "the cat",
        "answer": "1",
    },
    {"ctx": "A man opens a door and", "endings": ["walks in.", "melts."], "label": "0", "ind": 4},
    {"goal": "Dry a wet shoe.", "sol1": "Put it in the sun.", "sol2": "Put it in the rain.", "label": 0},
    {"question": "What melts?", "choices": {"text": ["ice", "stone"], "label": ["A", "B"]}, "answerKey": "A"},
]


def test_public_forms_may_stand_in_one_file_and_columns_that_nothing_reads_are_told(client, project):
    done = upload(project, PUBLIC)
    assert done.rows == 4 and done.ignored_columns == {"ind"}
    client.force_login(make_user(project, role="researcher"))
    assert "ice | stone" in client.get(reverse("dataset", args=[done.dataset.pk])).content.decode()


def test_half_a_character_in_a_column_of_no_use_is_told_and_breaks_nothing(project):
    assert "neither text" in refusal(project, [{**CHOICES[0], "label": "\ud800"}])["line 1"]


def test_labels_that_are_numbers_in_the_file_get_their_names(project):
    rows = [{"text": "Warm.", "label": 1}, {"text": "Dull.", "label": 0}]
    dataset = upload(project, rows, labels={"0": "negative", "1": "positive"}).dataset
    assert [item["label"] for item in items_of(dataset)] == ["positive", "negative"]


def test_a_column_of_no_use_may_hold_anything(project):
    done = upload(project, [{**row, "label": ["tidal", 1]} for row in CHOICES])
    assert done.dataset.counts["items"] == 2 and "labels" not in done.dataset.counts
