"""Tasks of Label Studio and Argilla, done and not: what people said, and what is still to be annotated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.data.formats import READERS, detect
from annotate.data.formats.items import Item, NewAnswers, NewComparison, NewPrompt, NewRanking, NewRating
from annotate.data.imports.actions import Order, start_import
from annotate.models import Comparison, Completion, Import, Prompt, Role
from tests.support import factories
from tests.support.annotate.importing import carry_out

BROUGHT = Path(__file__).parents[3] / "support" / "annotate" / "brought"


def rows(name: str) -> list[dict]:
    return json.loads((BROUGHT / name).read_text())


def read(*given: dict) -> list[Item]:
    name = detect(list(given))
    return [item for line, row in enumerate(given, 1) for item in READERS[name](row, line)]


def answers(item: Item) -> list[tuple[str, str]]:
    assert isinstance(item, NewAnswers)
    return list(zip(item.texts, item.models, strict=True))


def test_label_studios_tasks_are_read_done_or_not():
    rated, done, open_task, skipped, predicted, bare = read(*rows("label_studio_tasks.json"))
    assert isinstance(done, NewComparison) and (done.winner, done.model_a, done.judge) == (
        "model_a",
        "small",
        "1",
    )
    assert isinstance(rated, NewRating) and (rated.text, rated.aspects) == ("It scatters.", {"helpful": 4})
    assert rated.model == "small"  # the completion of the comparison, not another one
    assert done.comment == "The other is false." and done.seconds == 4.2
    assert answers(open_task) == [("Chlorophyll.", "small"), ("It is paint.", "large")]
    assert answers(skipped) == [("It is lighter.", ""), ("It is warm.", "")]
    assert answers(predicted) == [("Rhine, Nile, Ganges.", "gpt-4")]
    assert type(bare) is NewPrompt and bare.category == "geography"


def test_tasks_as_they_are_sent_to_label_studio_are_read():
    [item] = read({"data": {"prompt": "Why?", "response_a": "So.", "response_b": "Thus."}})
    assert answers(item) == [("So.", ""), ("Thus.", "")]


@pytest.mark.parametrize("name", ["argilla_records.json", "argilla_flat.json"])
def test_argillas_records_are_read_done_or_not(name):
    ann, ben, open_record, suggested = read(*rows(name))
    assert isinstance(ann, NewComparison) and (ann.winner, ann.comment) == ("model_a", "The other is false.")
    assert isinstance(ben, NewComparison) and ben.winner == "tie" and ben.category == "science"
    assert answers(open_record) == [("It scatters.", ""), ("It is paint.", "")]
    assert answers(suggested) == [("Rhine, Nile, Ganges.", "gpt-4")] and suggested.category == "geography"


def ranked(value: object) -> tuple[tuple[int, ...], ...]:
    data = {"prompt": "Why?", "items": [{"id": name, "body": f"Text {name}"} for name in ("a", "b", "c")]}
    result = {"type": "ranker", "from_name": "rank", "to_name": "items", "value": {"ranker": value}}
    [item] = read({"id": 1, "data": data, "annotations": [{"result": [result]}]})
    assert isinstance(item, NewRanking)
    return item.order


def test_a_ranker_without_buckets_is_an_order():
    assert ranked({"rank": ["c", "a", "b"]}) == ((2,), (0,), (1,))
    assert ranked(["c", "a", "b"]) == ((2,), (0,), (1,))


def test_what_was_left_in_the_list_is_not_ranked():
    assert ranked({"_": ["b"], "best": ["c"], "worst": ["a"]}) == ((1,), (0,))


def test_label_studios_short_export_says_what_to_export_instead():
    row = {"id": 1, "annotator": 1, "annotation_id": 2, "prompt": "Why?", "response_a": "So.", "response_b": "Thus.",
           "comparison": "left", "lead_time": 2.1}  # fmt: skip
    with pytest.raises(ValueError, match=r"short export .* export the project as JSON"):
        read(row)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "comparisons", "completions", "prompts"),
    [("label_studio_tasks.json", 1, 7, 5), ("argilla_records.json", 2, 5, 3), ("argilla_flat.json", 2, 5, 3)],
)
def test_an_import_of_them_leaves_the_rest_to_be_annotated(name, comparisons, completions, prompts):
    project = factories.make_project(eval_percent=0)
    researcher = factories.make_user(project, role=Role.RESEARCHER)
    with (BROUGHT / name).open("rb") as file:
        import_ = start_import(project=project, file=file, file_name=name, order=Order(source="theirs"), by=researcher)
    carry_out(import_)
    assert import_.state == Import.State.DONE and not import_.counts.get("bad"), list(import_.problems.all())
    assert (Comparison.objects.count(), Completion.objects.count(), Prompt.objects.count()) == (
        comparisons, completions, prompts,
    )  # fmt: skip
    assert Completion.objects.filter(named_model="gpt-4", text="Rhine, Nile, Ganges.").count() == 1
