"""A project's feedback in files of every format: what was imported comes out as it came in."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from annotate.core.errors import Refused
from annotate.data.exports.actions import export_feedback
from annotate.data.formats import FORMATS, READERS, WRITERS
from annotate.data.formats.items import Item, NewAttack
from annotate.data.imports.actions import Order, start_import
from annotate.data.imports.engine import Importer
from annotate.data.rows.row_files import read_rows
from annotate.models import Attack, Comparison, Completion, Demonstration, Ranking, Status
from tests.support import factories
from tests.support.annotate.odd_items import Odd

pytestmark = pytest.mark.django_db
SHARED = Path(os.environ.get("ASSAY_SHARED_DATA", Path(__file__).parents[5] / "shared" / "data"))


@pytest.fixture
def project():
    return factories.make_project(eval_percent=0)


def taken_in(project, by, content: bytes, name: str = "rows.jsonl", **order: Any):
    found = start_import(project=project, file=io.BytesIO(content), file_name=name, order=Order(**order), by=by)
    importer = Importer(only=found.pk)
    while importer.do():
        pass
    importer.end()
    found.refresh_from_db()
    assert found.state == "done", found.problem
    return found


def exported(project, by, format: str, **how: Any) -> bytes:
    return b"".join(export_feedback(project=project, by=by, format=format, **how).parts)


def rows_of(content: bytes, container: str = "jsonl") -> list[dict]:
    return [row.row for row in read_rows(io.BytesIO(content), f"x.{container}")]


def items_of(rows: list[dict], format: str) -> list[Item]:
    return [item for line, row in enumerate(rows, 1) for item in READERS[format](row, line)]


def told(items: list[Item]) -> list[str]:
    """In no order: Postgres keeps that of no object's fields."""
    return sorted(type(item).__name__ + json.dumps(vars(item), sort_keys=True, default=str) for item in items)


def bare(item: Item) -> Item:
    return replace(item, format="", extra={})


def as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_hh_rlhf_comes_out_byte_for_byte(project, manager):
    path = SHARED / "hh-rlhf-harmless-base-test.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path}: set ASSAY_SHARED_DATA to the folder that has it")
    given = rows_of(path.read_bytes(), "jsonl.gz")
    taken = taken_in(project, manager, path.read_bytes(), path.name)
    rows = rows_of(exported(project, manager, "hh-rlhf"))

    def content(rows):
        return Counter((row["chosen"], row["rejected"]) for row in rows)

    assert content(rows) == content(given) and len(rows) == 2312 and not taken.problems.exists()


FORMATS_WITH_ROOM = ("assay", "label-studio", "argilla")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMATS_WITH_ROOM)
def test_what_was_imported_is_exported_as_the_same_items(project, manager, name, seed):
    odd = Odd(seed)
    no = {} if name != "argilla" else {"created_at": None}
    items = [
        *(odd.comparison(**no) for _ in range(3)),
        *(odd.rating(**no) for _ in range(2)),
        *(odd.ranking(**no), odd.demonstration(**no), odd.prompt(), odd.span(**no), odd.flag(**no)),
        odd.demonstration(edited_from=odd.text(), **no),
    ]
    rows = json.loads(json.dumps(WRITERS[name](items)))
    wanted = items_of(rows, name)
    taken = taken_in(project, manager, as_lines(rows), format=name)
    assert not list(taken.problems.all().values("line", "reason"))
    container = FORMATS[name].container
    found = items_of(rows_of(exported(project, manager, name), container), name)
    assert sorted(map(repr, map(bare, found))) == sorted(map(repr, map(bare, wanted)))
    assert sorted(map(repr, map(bare, found))) == sorted(map(repr, map(bare, items)))


SAMPLES = {
    "trl-preference": [
        {"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "Hello."}],
         "rejected": [{"role": "assistant", "content": "What?"}], "margin": 0.25},
    ],
    "trl-preference-text": [{"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "lang": "en"}],
    "trl-unpaired": [
        {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Yo"}],
         "label": True}
    ],
    "trl-prompt-completion-text": [{"prompt": "2 + 2 =", "completion": " 4"}],
    "lmarena": [
        {"question_id": "q1", "model_a": "koala", "model_b": "vicuna", "winner": "both_bad", "judge": "arena_user_7",
         "conversation_a": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}],
         "conversation_b": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "B"}],
         "turn": 1, "anony": True, "language": "English", "tstamp": 1682351591.1322,
         "toxic_chat_tag": {"roberta-large": {"flagged": False, "probability": 0.01}}},
    ],
    "alpaca-eval": [
        {"instruction": "Sum up", "output_1": "a", "generator_1": "x", "output_2": "b", "generator_2": "y",
         "dataset": "helpful_base", "annotator": "gpt4", "preference": 1.83, "time_per_example": 0.1},
    ],
    "openai-summaries": [
        {"info": {"id": "t3", "post": "Long.\n\nVery.", "title": "T", "subreddit": "aww"}, "split": "train",
         "summaries": [{"text": " s", "policy": "sup", "note": "ok"}, {"text": " r", "policy": "ref", "note": None}],
         "choice": 1, "worker": "w1", "batch": "b", "extra": {"confidence": 7}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_a_row_of_another_tool_is_written_again_as_it_was(project, manager, name):
    taken_in(project, manager, as_lines(SAMPLES[name]))
    container = FORMATS[name].container
    assert rows_of(exported(project, manager, name), container) == SAMPLES[name]


def test_a_tree_stays_a_tree(project, manager):
    def message(number, text, role, replies=(), **more):
        named = {"message_id": f"m{number}", "text": text, "role": role, "lang": "en", "replies": list(replies)}
        return named | {"review_result": True, "deleted": False} | more

    answers = [
        message(2, "First.", "assistant", rank=1, labels={"quality": {"value": 0.25, "count": 3}}),
        message(3, "Second.", "assistant", [
            message(4, "And then?", "prompter", [message(5, "That is all.", "assistant", user_id="u5")])
        ], rank=0),
    ]  # fmt: skip
    tree = {
        "message_tree_id": "m1",
        "tree_state": "ready_for_export",
        "prompt": message(1, "Why?", "prompter", answers),
    }
    taken_in(project, manager, as_lines([tree]))
    assert Ranking.objects.get().order and Demonstration.objects.get().source_judge == "u5"
    (found,) = rows_of(exported(project, manager, "open-assistant"))
    assert told(items_of([found], "open-assistant")) == told(items_of([tree], "open-assistant"))


def test_what_was_judged_here_is_exported_with_models_judges_and_hours(project, manager):
    a, b = factories.make_pair(project)
    vote = factories.make_comparison(a, b, "tie", strength=None, comment="Both are fine.")
    (row,) = rows_of(exported(project, manager, "lmarena"))
    assert (row["model_a"], row["model_b"], row["winner"]) == (a.model.name, b.model.name, "tie")
    assert row["judge"] == vote.author.username and row["tstamp"] == pytest.approx(vote.created_at.timestamp())
    assert row["conversation_b"] == [*b.prompt.messages, {"role": "assistant", "content": b.text}]
    (own,) = rows_of(exported(project, manager, "assay"))
    assert (own["comment"], own["status"], own["side"]) == ("Both are fine.", "counted", "train")


def test_only_what_counts_unless_more_is_asked_for(project, manager):
    for status in Status.values:
        factories.make_comparison(*factories.make_pair(project), status=status)
    assert len(rows_of(exported(project, manager, "hh-rlhf"))) == 1
    both = rows_of(exported(project, manager, "assay", statuses=("held", "excluded")))
    assert {row["status"] for row in both} == {"held", "excluded"}


def test_gold_items_are_in_no_file_unless_asked_for(project, manager):
    for status in ("counted", "held"):
        a, b = factories.make_pair(project)
        gold = factories.make_assignment(factories.make_user(project), a, b, purpose="gold", state="submitted")
        factories.make_comparison(a, b, status=status, assignment=gold)
        factories.make_comparison(*factories.make_pair(project), status=status)
    for statuses in (("counted",), ("held",), ("counted", "held")):
        for measures, each in ((False, 1), (True, 2)):
            rows = rows_of(exported(project, manager, "assay", statuses=statuses, measures=measures))
            assert len(rows) == each * len(statuses)


def test_people_and_simulations_are_never_in_one_file(project, manager):
    factories.make_comparison(*factories.make_pair(project))
    factories.make_comparison(*factories.make_pair(project), author=factories.make_user(is_simulated=True))
    for judge in ("person", "simulation"):
        (row,) = rows_of(exported(project, manager, "assay", judge=judge))
        assert row["by_simulation"] == (judge == "simulation")


def test_one_split_can_be_had_alone(project, manager):
    for side in ("train", "eval"):
        factories.make_comparison(*factories.make_pair(project, side=side))
    assert len(rows_of(exported(project, manager, "hh-rlhf"))) == 2
    (row,) = rows_of(exported(project, manager, "assay", side="eval"))
    assert row["side"] == "eval"


def test_a_ranking_is_its_pairs_where_a_format_holds_no_rankings(project, manager):
    prompt = factories.make_prompt(project)
    a, b, c = (factories.make_completion(prompt, text) for text in "abc")
    who = factories.make_user()
    common = {"project": project, "prompt": prompt, "author": who, "judge": "person"}
    ranking = Ranking.objects.create(**common, order=[[b.pk], [a.pk, c.pk]])
    for one, other, winner in ((a, b, "model_b"), (a, c, "tie"), (b, c, "model_a")):
        Comparison.objects.create(**common, ranking=ranking, completion_a=one, completion_b=other, winner=winner)
    pairs = rows_of(exported(project, manager, "trl-preference"))
    assert sorted((p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in pairs) == [("b", "a"), ("b", "c")]
    (row,) = rows_of(exported(project, manager, "assay"))
    assert (row["completions"], row["order"]) == (["b", "a", "c"], [[0], [1, 2]])


def test_an_attack_has_the_fields_of_hh_rlhf(project, manager):
    prompt = factories.make_prompt(project, "How do I pick a lock?")
    messages = [*prompt.messages, {"role": "assistant", "content": "I would rather not say."}]
    model = factories.make_model(name="target 52B")
    Attack.objects.create(
        project=project, prompt=prompt, author=manager, judge="person", messages=messages, rating=1.0, tags=["theft"],
        task_description="Make it teach burglary.", model=model,
    )  # fmt: skip
    (row,) = rows_of(exported(project, manager, "hh-rlhf-red-team"))
    assert row["transcript"] == "\n\nHuman: How do I pick a lock?\n\nAssistant: I would rather not say."
    assert (row["rating"], row["tags"], row["model_type"], row["num_params"]) == (1.0, ["theft"], "target", "52B")
    (item,) = items_of([row], "hh-rlhf-red-team")
    assert isinstance(item, NewAttack) and item.task_description == "Make it teach burglary."


def test_a_margin_stands_in_every_row_or_in_none(project, manager):
    factories.make_comparison(*factories.make_pair(project), strength=2)
    assert [row["margin"] for row in rows_of(exported(project, manager, "trl-preference"))] == [2.0]
    factories.make_comparison(*factories.make_pair(project))
    assert all("margin" not in row for row in rows_of(exported(project, manager, "trl-preference")))


def test_a_margin_that_another_format_kept_is_none(project, manager):
    taken_in(project, manager, as_lines([{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.25}]))
    factories.make_comparison(*factories.make_pair(project), strength=2)
    assert all("margin" not in row for row in rows_of(exported(project, manager, "trl-preference")))
    rows = rows_of(exported(project, manager, "trl-preference-text"))
    assert sorted(row["margin"] for row in rows) == [0.25, 2.0]


@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "csv.gz", "json.gz"])
def test_our_own_rows_are_lossless_in_every_file(project, manager, container):
    odd = Odd(7)
    items = [odd.comparison(), odd.rating(), odd.ranking(), odd.demonstration(), odd.prompt(), odd.span(), odd.flag()]
    taken_in(project, manager, as_lines(WRITERS["assay"](items)))
    content = exported(project, manager, "assay", file=container)
    found = items_of(rows_of(content, container), "assay")
    assert sorted(map(repr, map(bare, found))) == sorted(map(repr, map(bare, items)))


def test_the_55k_shape_is_a_csv_file(project, manager):
    factories.make_comparison(*factories.make_pair(project), "model_b")
    content = exported(project, manager, "lmarena-55k").decode()
    (row,) = csv.DictReader(io.StringIO(content))
    assert (row["winner_model_a"], row["winner_model_b"], row["winner_tie"]) == ("0", "1", "0")
    assert len(json.loads(row["response_a"])) == 1


def test_a_packed_file_is_one(project, manager):
    factories.make_comparison(*factories.make_pair(project))
    assert json.loads(gzip.decompress(exported(project, manager, "hh-rlhf", file="jsonl.gz")))["chosen"]


def test_what_cannot_be_is_refused_with_what_can(project, manager):
    with pytest.raises(Refused, match="has no data for"):
        export_feedback(project=project, by=manager, format="hh-rlhf")
    with pytest.raises(Refused, match="open-assistant"):
        export_feedback(project=project, by=manager, format="excel")
    with pytest.raises(Refused, match=r"parquet"):
        export_feedback(project=project, by=manager, file="xlsx")
    with pytest.raises(Refused, match="withdrawn"):
        export_feedback(project=project, by=manager, statuses=("lost",))
    with pytest.raises(Refused, match="reviewer"):
        export_feedback(project=project, by=factories.make_user(project), format="hh-rlhf")


@pytest.mark.parametrize("file", ["jsonl", "csv", "parquet"])
def test_our_own_rows_are_found_again_whichever_side_the_better_answer_was_put_on(project, manager, file):
    pairs = [
        {"chosen": f"\n\nHuman: q{n}\n\nAssistant: a", "rejected": f"\n\nHuman: q{n}\n\nAssistant: b"}
        for n in range(12)
    ]
    taken_in(project, manager, as_lines(pairs), source="hh")
    assert {row.winner for row in Comparison.objects.all()} == {"model_a", "model_b"}
    again = taken_in(project, manager, exported(project, manager, "assay", file=file), f"x.{file}", source="hh")
    assert again.counts["already"] == 12 and Comparison.objects.count() == 12


def test_a_flag_of_the_prompt_stays_one_in_a_table(project, manager):
    taken_in(project, manager, as_lines([{"type": "flag", "prompt": "q", "reason": "rude"}]), source="s")
    again = taken_in(project, manager, exported(project, manager, "assay", file="csv"), "x.csv", source="other")
    assert again.counts["flags"] == 1 and not Completion.objects.exists()


def test_our_own_rows_take_every_spelling_of_a_winner(project, manager):
    row = {"type": "comparison", "prompt": "q", "completion_a": "a", "completion_b": "b"}
    rows = [row | {"prompt": f"q{n}", "winner": said} for n, said in enumerate(["A", "tie (bothbad)", "right"])]
    taken_in(project, manager, as_lines(rows))
    assert [row.winner for row in Comparison.objects.order_by("id")] == ["model_a", "both_bad", "model_b"]
