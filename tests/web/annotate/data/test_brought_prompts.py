"""Prompts in the files that people have: texts, tables, lists, in the usual names; told before anything is written."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from annotate.data.formats import READERS, detect, mapped
from annotate.data.formats.items import NewAnswers, NewDemonstration, NewPrompt
from annotate.data.imports import options
from annotate.data.imports.actions import Order, start_import
from annotate.data.imports.column_uses import column_uses
from annotate.data.rows.row_files import read_rows
from annotate.models import Demonstration, Import, Prompt, Role
from tests.support import factories
from tests.support.annotate.importing import add_by_page, carry_out, look_at

LINES = "Why is the sky blue?\nName three rivers.\nWhat is 2 + 2?\n\n\n"
PARAGRAPHS = "Mend this:\n\tx = 1;\n\nName three rivers.\n\n\nWhat is\n2 + 2?\n"


def rows_of(content: str | bytes, name: str, **how) -> list:
    content = content.encode() if isinstance(content, str) else content
    return [(row.line, row.row.get("text"), row.problem) for row in read_rows(io.BytesIO(content), name, **how)]


def test_a_text_file_has_a_prompt_on_each_line():
    wanted = [(1, "Why is the sky blue?", ""), (2, "Name three rivers.", ""), (3, "What is 2 + 2?", "")]
    assert rows_of(LINES, "prompts.txt") == wanted


def test_blank_lines_may_be_said_to_part_nothing():
    content = LINES.replace("Name", "\nName")
    assert [line for line, *_ in rows_of(content, "prompts.txt", format="txt")] == [1, 3, 4]


def test_a_text_file_has_a_prompt_in_each_paragraph():
    wanted = [(2, "Mend this:\n\tx = 1;", ""), (4, "Name three rivers.", ""), (8, "What is\n2 + 2?", "")]
    assert rows_of(PARAGRAPHS, "prompts.txt") == wanted
    assert rows_of(PARAGRAPHS, "prompts.txt", after=2) == wanted[1:]
    assert [line for line, *_ in rows_of(PARAGRAPHS, "prompts.txt", format="txt")] == [1, 2, 4, 7, 8]


def test_a_line_that_is_not_utf_8_is_told_alone():
    assert rows_of(b"\xef\xbb\xbfone\n\xff\xfeoh\nthree\n", "prompts.txt") == [
        (1, "one", ""),
        (2, None, "is not UTF-8 (invalid start byte); save the file as UTF-8."),
        (3, "three", ""),
    ]


def test_json_lines_stay_json_lines_whatever_the_name():
    assert rows_of('{"text": "one"}\n', "prompts.txt") == [(1, "one", "")]


USER = {"role": "user", "content": "Why?"}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "Why?", "category": "science", "system": "Be brief."}, NewPrompt),
        ({"Prompt": "Why?", "Category": "science", "System": "Be brief."}, NewPrompt),
        ({"text": "Why?", "category": "science", "system": "Be brief."}, NewPrompt),
        ({"Text": "Why?", "category": "science", "system": "Be brief."}, NewPrompt),
        ({"question": "Why?", "category": "science", "system_prompt": "Be brief."}, NewPrompt),
        ({"input": "Why?", "category": "science", "system": "Be brief."}, NewPrompt),
        ({"instruction": "Why?", "input": "", "category": "science", "system": "Be brief."}, NewPrompt),
        ({"messages": [USER], "category": "science", "system": "Be brief."}, NewPrompt),
        ({"conversations": [{"from": "human", "value": "Why?"}], "category": "science", "system": "Be brief."},
         NewPrompt),
        ({"question_id": 81, "turns": ["Why?", "Then?"], "category": "science", "system": "Be brief."}, NewPrompt),
        ({"instruction": "Why?", "input": "", "output": "So.", "category": "science", "system": "Be brief."},
         NewDemonstration),
        ({"question": "Why?", "answer": "So.", "category": "science", "system": "Be brief."}, NewDemonstration),
        ({"id": "1", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}],
          "category": "science", "system": "Be brief."}, NewDemonstration),
        ({"conversation": [USER, {"role": "assistant", "content": "So."}], "model": "vicuna", "category": "science",
          "system": "Be brief."}, NewAnswers),
    ],
)  # fmt: skip
def test_the_usual_names_are_known(row, kind):
    [item] = READERS[detect([row])](row, 1)
    assert type(item) is kind and item.category == "science"
    assert item.messages == [{"role": "system", "content": "Be brief."}, USER]


def test_an_instruction_is_about_its_input():
    row = {"instruction": "Translate.", "input": "Hund", "output": "dog"}
    [item] = READERS[detect([row])](row, 1)
    assert item.messages[-1]["content"] == "Translate.\n\nHund" and item.text == "dog"
    [alone] = READERS["questions"](row, 1)
    assert type(alone) is NewPrompt and alone.messages == item.messages


@pytest.mark.parametrize(
    ("row", "uses"),
    [
        (
            {"prompt": "Why?", "category": "c", "system": "Be brief.", "source": "web", "id": "7"},
            {"prompt": "prompt", "category": "category", "system": "system prompt", "source": "", "id": ""},
        ),
        (
            {"prompt": "Why?", "response_a": "So.", "response_b": "Thus.", "model_a": "m", "upvotes": 3},
            {"prompt": "prompt", "response_a": "answer", "response_b": "answer", "model_a": "model", "upvotes": ""},
        ),
        (
            {"model_a": "m", "model_b": "n", "winner": "model_a", "judge": "ann", "turn": 1,
             "conversation_a": [USER, {"role": "assistant", "content": "So."}],
             "conversation_b": [USER, {"role": "assistant", "content": "Thus."}]},
            {"model_a": "model", "model_b": "model", "winner": "annotation", "judge": "annotator", "turn": "",
             "conversation_a": "prompt", "conversation_b": "prompt"},
        ),
    ],
)  # fmt: skip
def test_it_is_told_what_each_column_is_read_as(row, uses):
    assert column_uses(READERS[detect([row])], [row]) == uses


def test_a_table_is_told_by_its_named_columns():
    read = mapped({"prompt": "ask", "completion": "said", "model": "who"})
    row = {"ask": "Why?", "said": "So.", "who": "m", "note": "?"}
    assert column_uses(read, [row]) == {"ask": "prompt", "said": "answer", "who": "model", "note": ""}


FILES = {
    "prompts.txt": "Why?\nName three rivers.\n",
    "prompts.csv": "Prompt,Category,Owner\nWhy?,science,ann\nName three rivers.,geography,bob\n",
    "prompts.tsv": "question\tcategory\nWhy?\tscience\nName three rivers.\tgeography\n",
    "prompts.jsonl": '{"instruction": "Why?", "owner": "ann"}\n{"instruction": "Name three rivers."}\n',
    "prompts.json": '[{"turns": ["Why?", "Then?"], "question_id": 1}, {"turns": ["Name three rivers."]}]',
}


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"prompt": "Why?"}, {"prompt": "Name three rivers."}]), out)
    return out.getvalue()


@pytest.mark.django_db
@pytest.mark.parametrize("name", [*FILES, "prompts.parquet"])
def test_every_file_becomes_the_same_prompts(name):
    project = factories.make_project()
    content = FILES[name].encode() if name in FILES else parquet()
    researcher = factories.make_user(project, role=Role.RESEARCHER)
    import_ = start_import(project=project, file=io.BytesIO(content), file_name=name, order=Order(), by=researcher)
    carry_out(import_)
    assert import_.state == Import.State.DONE and import_.counts["prompts"] == 2, import_.problem
    texts = list(Prompt.objects.order_by("id").values_list("messages", flat=True))
    assert [turns[-1]["content"] for turns in texts] == ["Why?", "Name three rivers."]
    assert not Demonstration.objects.exists()


@pytest.mark.django_db
def test_what_nothing_reads_is_named_before_anything_is_written(client, tmp_path, capsys):
    project = factories.make_project()
    researcher = factories.make_user(project, role=Role.RESEARCHER)
    client.force_login(researcher)
    file = SimpleUploadedFile("prompts.csv", FILES["prompts.csv"].encode())
    assert "Ignored column:</strong> Owner" in look_at(client, project, file).content.decode()
    assert not Import.objects.exists()
    file.seek(0)
    text = add_by_page(client, project, file, checks=True).content.decode()
    assert "Ignored columns: <strong>Owner</strong>" in text and "Category" in text
    assert not Prompt.objects.exists()

    path = tmp_path / "prompts.csv"
    path.write_text(FILES["prompts.csv"])
    call_command("import_feedback", str(path), project=project.slug, dry_run=True, by=researcher.username)
    told = capsys.readouterr().out
    assert "Prompt → prompt, Category → category" in told and "Nothing reads: Owner." in told
    assert not Prompt.objects.exists()

    import_ = Import.objects.order_by("id").first()
    assert options.unused_columns(import_) == ["Owner"]
    fields = json.loads(client.get(f"/api/v1/imports/{import_.pk}/").content)
    assert fields["columns"] == {"Prompt": "prompt", "Category": "category"} and fields["unused_columns"] == ["Owner"]


@pytest.mark.django_db
def test_columns_of_a_file_that_is_damaged_further_on_are_told_by_what_comes_before():
    project = factories.make_project()
    researcher = factories.make_user(project, role=Role.RESEARCHER)
    rows = ", ".join(json.dumps({"question": f"Why {n}?", "owner": "ann"}) for n in range(4))
    file, order = io.BytesIO(f"[{rows}, oops]".encode()), Order(format="questions")
    import_ = start_import(project=project, file=file, file_name="prompts.json", order=order, by=researcher)
    assert options.columns_read(import_) == {"question": "prompt"} and options.unused_columns(import_) == ["owner"]
    carry_out(import_)
    assert import_.state == Import.State.FAILED and "after row 4" in import_.problem


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "order"),
    [
        ("ask,gold\nWhat is 6 x 7?,42\nWhy?,\n", {"columns": {"prompt": "ask", "answer": "gold"}}),
        ('{"type": "prompt", "prompt": "What is 6 x 7?", "answer": 42}\n{"type": "prompt", "prompt": "Why?"}\n', {}),
    ],
)
def test_right_answers_come_with_prompts_and_to_those_that_lack_one(content, order):
    project = factories.make_project()
    researcher = factories.make_user(project, role=Role.RESEARCHER)
    factories.make_prompt(project, "What is 6 x 7?")
    name = "prompts.csv" if "," in content.splitlines()[0] and order else "prompts.jsonl"
    import_ = start_import(
        project=project, file=io.BytesIO(content.encode()), file_name=name, order=Order(**order), by=researcher
    )
    carry_out(import_)
    assert import_.state == Import.State.DONE, import_.problem
    assert dict(Prompt.objects.values_list("messages__0__content", "answer")) == {"What is 6 x 7?": "42", "Why?": ""}


def test_a_right_answer_belongs_to_a_prompt_alone():
    with pytest.raises(ValueError, match="right answer"):
        mapped({"prompt": "q", "completion": "text", "answer": "gold"})
