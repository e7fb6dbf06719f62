"""FastChat's files: MT-bench's questions, answers and a model's judgements, and the votes in its arena's log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotate.core.errors import Refused
from annotate.data.formats import READERS, detect
from annotate.data.formats.items import NewComparison, NewRating
from annotate.data.imports.actions import Order, start_import
from annotate.data.imports.mt_bench import NotMtBench, joined_rows, left_out
from annotate.models import Comparison, Completion, Prompt, Rating
from tests.support import factories

BROUGHT = Path(__file__).parents[3] / "support" / "annotate" / "brought"
MT_BENCH = BROUGHT / "mt_bench"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def project(db):
    factories.make_user(is_superuser=True, is_staff=True)
    return factories.make_project(slug="everyday", eval_percent=0)


def test_questions_answers_and_judgements_come_together():
    rows = list(joined_rows(MT_BENCH))
    assert len(rows) == 2 + 4 + 3 and left_out(MT_BENCH) == ["model_judgment/gpt-4_single.jsonl"]
    assert all("g1_user_prompt" not in row for row in rows)


@pytest.mark.usefixtures("project")
def test_both_turns_of_mt_bench_come_with_the_models_answers(capsys):
    call_command("import_feedback", str(MT_BENCH), project="everyday", source="mt-bench")
    told = capsys.readouterr().out
    assert "Not read: model_judgment/gpt-4_single.jsonl" in told and "0 bad" in told

    first = Completion.objects.get(named_model="alpha", text="Rain falls on the plain.")
    assert first.prompt.messages == [{"role": "user", "content": "Write a line on rain."}]
    assert first.prompt.category == "writing"
    second = Completion.objects.get(named_model="alpha", text="Rain, in vain, on the plain.")
    assert [turn["content"] for turn in second.prompt.messages] == [
        "Write a line on rain.", "Rain falls on the plain.", "Now make it rhyme.",
    ]  # fmt: skip
    assert Prompt.objects.count() == 2 + 4  # first turns, and second turns after each model's own answer
    assert Completion.objects.count() == 8  # those of the judgements are the same


@pytest.mark.usefixtures("project")
def test_a_models_judgements_are_never_peoples():
    call_command("import_feedback", str(MT_BENCH), project="everyday", source="mt-bench")
    comparisons = list(Comparison.objects.order_by("id"))
    assert {row.judge for row in comparisons} == {"simulation"}
    assert {row.source_judge for row in comparisons} == {"gpt-4 pair-v2"}
    assert len(comparisons) == 5  # one game of the six gave no verdict
    won = [
        {"model_a": row.completion_a.named_model, "model_b": row.completion_b.named_model}.get(row.winner, "tie")
        for row in comparisons
    ]
    assert sorted(won) == ["alpha", "alpha", "alpha", "beta", "tie"]
    assert {row.completion_a.named_model for row in comparisons} == {"alpha", "beta"}  # the sides were swapped

    call_command("import_feedback", str(MT_BENCH), project="everyday", source="mt-bench")
    assert Comparison.objects.count() == 5 and Completion.objects.count() == 8


def test_people_cannot_be_said_to_have_judged(project, tmp_path):
    path = tmp_path / "mt_bench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in joined_rows(MT_BENCH) if "model_id" in row))
    by = factories.make_user(project, role="researcher")
    with path.open("rb") as file, pytest.raises(Refused) as refused:
        start_import(project=project, file=file, file_name=path.name, order=Order(judge="person"), by=by)
    assert "a model is the judge" in refused.value.errors["judge"]


def test_answers_without_their_questions_say_what_to_import():
    for name in ("model_answer/alpha.jsonl", "model_judgment/gpt-4_pair.jsonl"):
        row = lines(MT_BENCH / name)[0]
        with pytest.raises(ValueError, match=r"question\.jsonl\. Import the whole folder"):
            READERS[detect([row])](row, 1)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("question.jsonl", None, "has no question.jsonl"),
        ("question.jsonl", "{oops", "line 1, is not JSON"),
        ("question.jsonl", b'{"question_id": 1, "turns": ["\xff"]}', "line 1, is not UTF-8"),
        ("question.jsonl", b"\xff\xfe{", "question.jsonl: The file is in UTF-16"),
        ("question.jsonl", "[[]]", "line 1, is not a JSON object"),
        ("question.jsonl", '{"question_id": 1}', "line 1, has no turns"),
        ("model_answer/alpha.jsonl", '{"question_id": 7, "model_id": "m", "choices": []}', "answers question 7"),
    ],
)
def test_a_folder_that_is_none_is_told_by_file_and_line(tmp_path, name, content, reason):
    folder = tmp_path / "mt_bench"
    shutil.copytree(MT_BENCH, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes((content.encode() if isinstance(content, str) else content) + b"\n")
    with pytest.raises(NotMtBench, match=reason):
        list(joined_rows(folder))


def test_a_choice_that_is_none_leaves_its_answer_to_be_told_by_line(tmp_path):
    folder = tmp_path / "mt_bench"
    shutil.copytree(MT_BENCH, folder)
    row = lines(folder / "model_answer/alpha.jsonl")[0] | {"choices": ["So."]}
    (folder / "model_answer/alpha.jsonl").write_text(json.dumps(row))
    [answer] = [row for row in joined_rows(folder) if row.get("model_id") == "alpha"]
    with pytest.raises(ValueError, match="has choices that are not one answer for each turn"):
        READERS["mt-bench"](answer, 1)


@pytest.mark.usefixtures("project")
def test_a_wrong_folder_imports_nothing(tmp_path):
    with pytest.raises(CommandError, match=r"has no question\.jsonl"):
        call_command("import_feedback", str(tmp_path), project="everyday")
    assert not Prompt.objects.exists()


def test_votes_and_thumbs_of_the_log_are_read():
    rows = lines(BROUGHT / "fastchat_log.json")
    assert detect(rows) == "fastchat-log"
    chat, right, both_bad, up = (READERS["fastchat-log"](row, 1) for row in rows)
    assert chat == []
    [vote] = right
    assert isinstance(vote, NewComparison) and (vote.winner, vote.model_a, vote.model_b) == ("model_b", "alpha", "beta")
    assert (vote.a, vote.b) == ("Hello.", "Hi.") and len(vote.later_a) == 2
    assert both_bad[0].winner == "both_bad"
    [thumbs] = up
    assert isinstance(thumbs, NewRating) and (thumbs.thumbs, thumbs.text, thumbs.model) == (True, "Welcome.", "alpha")


def test_system_messages_of_two_templates_are_no_part_of_the_question():
    row = lines(BROUGHT / "fastchat_log.json")[2]
    for state in row["states"]:
        state["system_message"] = "Be brief."
    [vote] = READERS["fastchat-log"](row, 1)
    assert vote.messages[0] == {"role": "system", "content": "Be brief."}
    row["states"][1]["system_message"] = "You are beta."
    [vote] = READERS["fastchat-log"](row, 1)
    assert [turn["role"] for turn in vote.messages] == ["user"] and vote.winner == "both_bad"


@pytest.mark.usefixtures("project")
def test_the_log_is_imported_without_addresses(capsys):
    call_command("import_feedback", str(BROUGHT / "fastchat_log.json"), project="everyday")
    assert "0 bad" in capsys.readouterr().out
    assert Comparison.objects.count() == 2 and Rating.objects.get().thumbs is True
    kept = [*Comparison.objects.values(), *Rating.objects.values(), *Completion.objects.values()]
    assert "192.0.2" not in json.dumps(kept, default=str)
