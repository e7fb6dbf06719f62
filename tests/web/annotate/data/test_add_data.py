"""The page that adds data: every usual shape, a mapping that one can change, and nothing written before one says so."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.data.add_data import column_targets
from annotate.data.imports.actions import Order, start_import
from annotate.models import Comparison, Completion, Dataset, Demonstration, Import, Prompt, Rating
from tests.support.annotate.importing import add_by_page, look_at, work_off_imports
from tests.support.factories import make_project, make_prompt, make_user, sign_in

pytestmark = pytest.mark.django_db

QUESTION = "What is a tide?"
CHAT = [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": "The sea's breath."}]
SHAPES = {
    "text": ({"text": QUESTION}, "prompt"),
    "question": ({"question": QUESTION, "category": "science"}, "prompt"),
    "instruction and input": ({"instruction": "Translate.", "input": "Good morning"}, "prompt"),
    "ShareGPT": ({"conversations": CHAT}, "demonstration"),
    "Alpaca": ({"instruction": "Translate.", "input": "Good morning", "output": "Guten Morgen"}, "demonstration"),
    "answers without annotations": ({"prompt": QUESTION, "response_a": "The moon.", "response_b": "No."}, "answers"),
    "preference": ({"prompt": QUESTION, "chosen": "The moon.", "rejected": "No."}, "comparison"),
}


def rows_file(*rows: dict, name: str = "rows.jsonl") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, "".join(json.dumps(row) + "\n" for row in rows).encode())


def again(client, project, page, *, post: bool = False, **fields):
    """Return what the form of a page answers with these fields changed."""
    address, body = reverse("add-data", args=[project.slug]), {"draft": page.context["draft"].token, **fields}
    return client.post(address, body, follow=True) if post else client.get(address, body)


def nothing_is_written() -> bool:
    return not any(table.objects.exists() for table in (Import, Prompt, Completion, Comparison, Dataset))


@pytest.mark.parametrize(("row", "kind"), SHAPES.values(), ids=SHAPES)
def test_every_usual_shape_shows_what_it_becomes(client, project, row, kind):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file(row, row))
    assert page.status_code == 200 and page.context["seen"].problem == ""
    assert {item.kind for _, item in page.context["first"]} == {kind}
    assert nothing_is_written()


def test_a_dataset_is_shown_whose_texts_hold_other_line_separators(client, project):
    sign_in(client, project, "researcher")
    row = {"text": "one\u2028two\x85three", "label": "a"}
    page = look_at(client, project, rows_file(row), **{"as": "labelled"})
    assert page.status_code == 200 and page.context["seen"].dataset_rows == (row,)


def test_plain_text_is_a_prompt_on_each_line(client, project):
    sign_in(client, project, "researcher")
    text = "What is a tide?\nWhy is the sky blue?\n"
    for page in (
        look_at(client, project, SimpleUploadedFile("prompts.txt", text.encode())),
        look_at(client, project, text=text.replace("\n", "\r\n")),
    ):
        assert [item.messages[-1]["content"] for _, item in page.context["first"]] == text.splitlines()
        sums = page.context["seen"].file
        assert sums.train + sums.eval == 2 and dict(page.context["kinds"]) == {"prompts": 2}


def test_pasted_prompts_are_added_in_two_steps(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, text="What is a tide?\nWhy is the sky blue?")
    made = again(client, project, page, post=True)
    assert made.redirect_chain[-1][0] == reverse("import", args=[project.slug, Import.objects.get().pk])
    work_off_imports()
    assert sorted(prompt.text for prompt in Prompt.objects.all()) == ["What is a tide?", "Why is the sky blue?"]


def test_ignored_columns_are_named_and_can_be_mapped(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file({"question": QUESTION, "topic": "sea", "owner": "ann"}))
    assert page.context["seen"].ignored == ("topic", "owner") and "Ignored columns:" in page.content.decode()
    mapped = again(client, project, page, **{"column:rows:question": "prompt", "column:rows:topic": "category"})
    assert mapped.context["seen"].ignored == ("owner",) and mapped.context["first"][0][0].item.category == "sea"
    again(client, project, page, post=True, **{"column:rows:question": "prompt", "column:rows:topic": "category"})
    work_off_imports()
    assert (Prompt.objects.get().text, Prompt.objects.get().category) == (QUESTION, "sea")


def test_a_column_whose_name_spans_lines_can_be_mapped(client, project):
    """As spreadsheets name them; a browser sends every line end in a field's name as CR and LF."""
    sign_in(client, project, "researcher")
    page = look_at(client, project, SimpleUploadedFile("a.csv", b'"Frage\n(deutsch)",wer\nWarum?,ann\n'))
    assert [column.name for column in page.context["seen"].columns] == ["Frage\n(deutsch)", "wer"]
    fields = {"column:rows:Frage\r\n(deutsch)": "prompt"}
    shown = again(client, project, page, **fields)
    assert shown.context["seen"].is_usable and shown.context["seen"].ignored == ("wer",)
    body = urlencode({"draft": page.context["draft"].token, **fields})
    client.post(reverse("add-data", args=[project.slug]), body, content_type="application/x-www-form-urlencoded")
    work_off_imports()
    assert Prompt.objects.get().text == "Warum?"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"q": "", "good": "chosen", "bad": "rejected"}, "Choose the prompt’s column"),
        ({"q": "prompt", "good": "chosen", "bad": ""}, "Choose the columns of both chosen and rejected"),
        ({"q": "prompt", "good": "chosen", "bad": "chosen"}, "Two columns are read as chosen"),
    ],
)
def test_a_mapping_survives_an_error(client, project, mapping, message):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file({"q": QUESTION, "good": "The moon.", "bad": "No."}))
    wrong = again(client, project, page, post=True, **{f"column:rows:{name}": to for name, to in mapping.items()})
    assert wrong.status_code == 400 and message in wrong.content.decode() and nothing_is_written()
    assert {column.name: column.target for column in wrong.context["seen"].columns} == mapping
    right = {"column:rows:q": "prompt", "column:rows:good": "chosen", "column:rows:bad": "rejected"}
    again(client, project, wrong, post=True, **right)
    work_off_imports()
    vote = Comparison.objects.get()
    preferred = vote.completion_a if vote.winner == "model_a" else vote.completion_b  # positions are drawn
    assert preferred.text == "The moon."


def test_options_survive_an_error_and_the_file_is_not_sent_again(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file({"question": QUESTION}))
    wrong = again(client, project, page, post=True, source="arena", judge="simulation")
    html = wrong.content.decode()
    assert wrong.status_code == 400 and 'value="arena"' in html and 'value="simulation" selected' in html
    assert again(client, project, wrong, post=True, source="mine").redirect_chain


def test_an_unknown_table_can_be_mapped_by_hand(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, SimpleUploadedFile("a.csv", b"frage,antwort,wer\nWarum?,Darum.,ann\n"))
    assert (
        page.status_code == 200 and not page.context["seen"].is_usable and ">Add the file<" not in page.content.decode()
    )
    mapping = {"column:rows:frage": "prompt", "column:rows:antwort": "completion", "column:rows:wer": "author"}
    again(client, project, page, post=True, **mapping)
    work_off_imports()
    assert Demonstration.objects.get().text == "Darum."


def test_an_aspect_can_be_mapped(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file({"frage": "Why?", "antwort": "So.", "helpful": 4}))
    mapping = {"frage": "prompt", "antwort": "completion", "helpful": "aspect:helpful"}
    fields = {f"column:rows:{name}": target for name, target in mapping.items()}
    shown = again(client, project, page, **fields)
    assert 'value="aspect:helpful" selected' in shown.content.decode() and ">Add 1 rating<" in shown.content.decode()
    again(client, project, page, post=True, **fields)
    work_off_imports()
    assert Rating.objects.get().aspects == {"helpful": 4}


def test_an_instruction_and_its_input_can_be_mapped(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file({"aufgabe": "Translate.", "worauf": "Good morning"}))
    mapping = {"column:rows:aufgabe": "prompt", "column:rows:worauf": "input"}
    shown = again(client, project, page, **mapping)
    assert shown.context["first"][0][1].messages[-1]["content"] == "Translate.\n\nGood morning"


def test_a_conversation_of_another_name_is_a_demonstration(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, rows_file({"gespräch": CHAT, "n": "1"}))
    shown = again(client, project, page, **{"column:rows:gespräch": "prompt"})
    assert [item.kind for _, item in shown.context["first"]] == ["demonstration"]


def test_bad_lines_are_told_before_anything_is_added(client, project):
    sign_in(client, project, "researcher")
    rows = [{"prompt": QUESTION, "chosen": "a", "rejected": "b"}, {"prompt": QUESTION, "chosen": "a", "rejected": "a"}]
    html = look_at(client, project, rows_file(*rows)).content.decode()
    assert "Lines that cannot be used" in html and "The two answers are the same" in html


@pytest.mark.parametrize(
    ("shape", "row", "columns", "kept"),
    [
        ("sft", {"frage": "Why?", "antwort": "So."}, {"frage": "prompt", "antwort": "completion"}, "So."),
        ("labelled", {"satz": "Warm.", "klasse": "good"}, {"satz": "text", "klasse": "label"}, "Warm."),
        ("corpus", {"body": "Once upon a time"}, {}, "Once upon a time"),
        ("task", {"frage": "Name a colour.", "gut": "Green."}, {"frage": "prompt", "gut": "reference"}, "Green."),
    ],
)
def test_a_file_becomes_a_dataset_with_a_mapping_of_columns(client, project, shape, row, columns, kept):
    sign_in(client, project, "researcher")
    other = {name: f"{value} 2" for name, value in row.items()}
    page = look_at(client, project, rows_file(row, other), **{"as": shape})
    fields = {f"column:{shape}:{name}": to for name, to in columns.items()} | {"as": shape, "name": "mine"}
    shown = again(client, project, page, **fields)
    assert len(shown.context["seen"].dataset_rows) == 2 and kept in shown.content.decode() and nothing_is_written()
    made = again(client, project, page, post=True, **fields)
    dataset = Dataset.objects.get()
    assert dataset.kind == shape and made.redirect_chain[-1][0] == reverse("dataset", args=[dataset.pk])


def test_a_dataset_that_is_refused_keeps_name_mapping_and_file(client, project):
    sign_in(client, project, "researcher")
    rows = [{"satz": "Warm.", "klasse": "good"}, {"satz": "", "klasse": "good"}]
    page = look_at(client, project, rows_file(*rows), **{"as": "labelled"})
    fields = {"column:labelled:satz": "text", "column:labelled:klasse": "label", "as": "labelled", "name": "mine"}
    wrong = again(client, project, page, post=True, **fields)
    html = wrong.content.decode()
    assert wrong.status_code == 400 and "has an empty text" in html and 'value="mine"' in html
    assert {column.name: column.target for column in wrong.context["seen"].columns} == {
        "satz": "text",
        "klasse": "label",
    }
    again(client, project, wrong, post=True, **fields, skip_bad="on")
    assert Dataset.objects.get().counts["rows"] == 1


def test_a_draft_is_for_whoever_sent_it_in_that_project(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, text="Why?")
    assert again(client, project, page, post=True, **{"draft": "nonsense"}).status_code == 410
    other = make_project()
    sign_in(client, other, "manager")
    assert again(client, other, page).status_code == 410
    client.force_login(make_user(project, role="researcher"))
    answer = again(client, project, page)
    assert answer.status_code == 410 and "send it again" in answer.content.decode()


def test_a_draft_outlasts_a_refused_import_of_the_same_file(client, project):
    sign_in(client, project, "researcher")
    rows = {"frage": "Warum?", "antwort": "Darum."}
    page = look_at(client, project, rows_file(rows))
    with pytest.raises(Refused, match="matches no known format"):
        start_import(
            project=project,
            file=rows_file(rows),
            file_name="again.jsonl",
            order=Order(),
            by=make_user(project, role="researcher"),
        )
    assert again(client, project, page).status_code == 200


def test_a_file_that_cannot_be_read_is_told(client, project):
    sign_in(client, project, "researcher")
    page = look_at(client, project, SimpleUploadedFile("a.xlsx", b"PK\x03\x04 and more"))
    assert page.status_code == 200 and "zip archive" in page.content.decode()
    assert look_at(client, project, SimpleUploadedFile("a.txt", b"")).status_code == 400


def test_what_htmx_sends_leads_on_or_says_what_is_wrong(client, project):
    sign_in(client, project, "researcher")
    address = reverse("add-data", args=[project.slug])
    sent = client.post(address, {"file": rows_file({"text": QUESTION})}, HTTP_HX_REQUEST="true")
    assert sent["HX-Redirect"].startswith(f"{address}?draft=")
    wrong = client.post(address, {"file": SimpleUploadedFile("a.txt", b"")}, HTTP_HX_REQUEST="true")
    assert wrong.status_code == 200 and wrong["HX-Retarget"] == "#main" and b"The file is empty" in wrong.content


def test_rows_that_stand_already_are_found_not_repeated(client, project):
    sign_in(client, project, "researcher")
    make_prompt(project, QUESTION)
    add_by_page(client, project, rows_file({"text": QUESTION}))
    work_off_imports()
    assert Prompt.objects.count() == 1 and Import.objects.get().counts["already"] == 1


def test_columns_are_suggested_by_use_or_by_name():
    suggest = column_targets.suggest
    uses = {"instruction": "prompt", "input": "prompt", "output": "answer", "who": "annotator", "x": ""}
    assert suggest("rows", list(uses), uses) == {
        "instruction": "prompt",
        "input": "input",
        "output": "completion",
        "who": "author",
        "x": "",
    }
    names = ["question", "response_1", "response_2", "rating", "other"]
    assert suggest("rows", names, {}) == {
        "question": "prompt",
        "response_1": "completion_a",
        "response_2": "completion_b",
        "rating": "stars",
        "other": "",
    }
    names = ["Prompt ", " Chosen", "Category "]  # as spreadsheets leave them
    assert suggest("rows", names, {}) == dict(zip(names, ("prompt", "chosen", "category"), strict=True))
    assert suggest("corpus", ["body", "source"], {}) == {"body": "text", "source": "source"}
    assert suggest("rows", ["question", "answer"], {})["answer"] == "completion", "one to learn from"
    assert suggest("rows", ["question", "ground_truth"], {})["ground_truth"] == "answer", "the right one"
