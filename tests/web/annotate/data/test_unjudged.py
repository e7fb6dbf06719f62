"""Answers that nobody judged yet come in as completions to be judged; questions, whatever their column, as prompts."""

from __future__ import annotations

import io
import json

import pytest

from annotate.core.errors import Refused
from annotate.data.formats import READERS, detect, mapped
from annotate.data.formats.items import Item
from annotate.data.imports.actions import Order, start_import
from annotate.labelling import assigning as assignments
from annotate.models import Assignment, Completion, Project, Prompt
from tests.support import factories
from tests.support.annotate.importing import carry_out


def read(*rows: dict) -> list[Item]:
    name = detect(list(rows))
    return [item for line, row in enumerate(rows, 1) for item in READERS[name](row, line)]


def told(item: Item) -> tuple[str, list[str], list[tuple[str, str]]]:
    """(kind, what was asked, [(answer, model)])."""
    texts = getattr(item, "texts", ())
    models = getattr(item, "models", ()) or ("",) * len(texts)
    asked = [f"{turn['role']}: {turn['content']}" for turn in item.messages]
    return type(item).__name__, asked, list(zip(texts, models, strict=True))


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"prompt": "Why?", "response_a": "So.", "response_b": "Thus."}, [("So.", ""), ("Thus.", "")]),
        (
            {"prompt": "Why?", "response_a": "So.", "response_b": "Thus.", "model_a": "m", "model_b": "n"},
            [("So.", "m"), ("Thus.", "n")],
        ),
        ({"question": "Why?", "answer_1": "So.", "answer_2": "Thus."}, [("So.", ""), ("Thus.", "")]),
        ({"prompt": "Why?", "completion": "So.", "model": "m"}, [("So.", "m")]),
        ({"instruction": "Why?", "output": "So.", "generator": "m", "dataset": "d"}, [("So.", "m")]),
        ({"id": 3, "data": {"prompt": "Why?", "response": "So."}, "annotations": []}, [("So.", "")]),
        (
            {
                "id": 3,
                "data": {"prompt": "Why?", "response_a": "So.", "response_b": "Thus.", "model_a": "m", "model_b": "n"},
                "annotations": [],
            },
            [("So.", "m"), ("Thus.", "n")],
        ),
    ],
)
def test_answers_that_nobody_judged_are_to_be_judged(row, answers):
    [item] = read(row)
    assert told(item) == ("NewAnswers", ["user: Why?"], answers)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "response_a": "So.", "response_b": "Thus."},
        {"prompt": "Why?", "completion": "So.", "model": "m"},
        {"data": {"prompt": "Why?", "response": "So."}, "annotations": []},
        {"prompt": "Why?", "chosen": "So.", "rejected": "Thus."},
        {"prompt": "Why?"},
        {"question": "Why?"},
        {"question_id": 81, "turns": ["Why?", "And then?"]},
    ],
)
def test_category_and_system_are_kept(row):
    inner = row.get("data", row)
    inner |= {"category": "humanities", "system": "Be brief."}
    [item] = read(row)
    assert item.category == "humanities"
    assert [(turn["role"], turn["content"]) for turn in item.messages] == [("system", "Be brief."), ("user", "Why?")]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Why?"},
        {"question": "Why?"},
        {"instruction": "Why?"},
        {"instruction": "Why?", "input": "", "output": ""},
        {"question_id": 81, "category": "writing", "turns": ["Why?", "And then?"]},
        {"question_id": "81", "category": "writing", "turns": json.dumps(["Why?", "And then?"])},
    ],
)
def test_questions_are_prompts_whatever_their_column(row):
    [item] = read(row)
    assert told(item) == ("NewPrompt", ["user: Why?"], [])


def test_an_instruction_with_an_input_asks_for_both():
    [item] = read({"instruction": "Translate.", "input": "Bonjour"})
    assert told(item)[1] == ["user: Translate.\n\nBonjour"]


def test_a_row_with_a_winner_is_a_comparison_still_and_a_completion_alone_a_demonstration():
    prompt_and_answers = {"prompt": "Why?", "completion_a": "So.", "completion_b": "Thus.", "winner": "model_a"}
    columns = {name: name for name in prompt_and_answers}
    assert told(mapped(columns)(prompt_and_answers, 1)[0])[0] == "NewComparison"
    assert told(read({"prompt": "Why?", "completion": "So."})[0])[0] == "NewDemonstration"


def test_named_columns_without_a_winner_are_answers_to_be_judged():
    columns = {"prompt": "q", "completion_a": "x", "completion_b": "y", "system": "s", "category": "c"}
    [item] = mapped(columns)({"q": "Why?", "x": "So.", "y": "Thus.", "s": "Be brief.", "c": "art"}, 1)
    assert told(item) == ("NewAnswers", ["system: Be brief.", "user: Why?"], [("So.", ""), ("Thus.", "")])
    assert item.category == "art"


@pytest.mark.parametrize("name", ["issue", "issue_type", "report", "flagged_by_ui"])
def test_choices_of_label_studio_are_no_flags(name):
    choice = {"from_name": name, "to_name": "response", "type": "choices", "value": {"choices": ["none"]}}
    stars = {"from_name": "stars", "to_name": "response", "type": "rating", "value": {"rating": 4}}
    task = {"data": {"prompt": "Why?", "response": "So."}, "annotations": [{"result": [choice, stars]}]}
    assert [type(item).__name__ for item in read(task)] == ["NewRating"]


@pytest.mark.django_db(transaction=True)
def test_a_file_of_answers_becomes_work_for_judges(tmp_path):
    project: Project = factories.make_project(eval_percent=0, asks_ratings=False)
    manager, ada = factories.make_user(project, role="manager"), factories.make_user(project)
    rows = [
        {"prompt": f"Why {n}?", "system": "Be brief.", "category": "art", "response_a": "So.", "response_b": "Thus."}
        for n in range(3)
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    for expected in ({"rows": 3, "prompts": 3, "completions": 6}, {"rows": 3, "already": 3}):
        with file.open("rb") as opened:
            done = start_import(
                project=project, by=manager, file=opened, file_name=file.name, order=Order(source="mine")
            )
        carry_out(done)
        assert {name: n for name, n in done.counts.items() if n} == expected, done.problem
    assert Prompt.objects.first().messages[0] == {"role": "system", "content": "Be brief."}
    assert Prompt.objects.first().category == "art" and Completion.objects.count() == 6
    assignment = assignments.next_for(project=project, user=ada)
    assert assignment.kind == Assignment.Kind.COMPARE


@pytest.mark.django_db(transaction=True)
def test_answers_to_prompts_that_stand_are_taken_in():
    project: Project = factories.make_project()
    manager = factories.make_user(project, role="manager")
    for model in ("one", "two"):
        file = io.BytesIO(json.dumps({"prompt": "Why?", "completion": f"By {model}.", "model": model}).encode())
        order = Order(source="mine")
        done = carry_out(start_import(project=project, by=manager, file=file, file_name="a.jsonl", order=order))
        assert (done.state, done.problem, done.counts["completions"]) == ("done", "", 1)


@pytest.mark.django_db(transaction=True)
def test_a_log_without_a_vote_is_not_said_to_be_empty():
    """FastChat's log has a row for each time that somebody writes or shares a chat."""
    project: Project = factories.make_project()
    manager = factories.make_user(project, role="manager")
    file = io.BytesIO(json.dumps({"tstamp": 1.0, "type": "share", "states": [{}, {}]}).encode())
    with pytest.raises(Refused) as refused:
        start_import(project=project, by=manager, file=file, file_name="log.jsonl", order=Order(source="log"))
    assert refused.value.errors["file"].endswith("as fastchat-log: none of its rows holds anything to add")
