"""What goes into a dataset, what may not, and what the files hold."""

from __future__ import annotations

import itertools
import json
import weakref
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate.core.errors import Refused
from annotate.data import frozen_rows
from annotate.data.datasets import answer_texts
from annotate.data.datasets.actions import freeze
from annotate.data.datasets.frozen_exports import export
from annotate.data.datasets.selections import count_examples, select
from annotate.data.prompts.editing import edit_prompt
from annotate.models import Dataset, Demonstration, Project, Status
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_pair,
    make_project,
    make_prompt,
    make_rating,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.DATASETS_DIR = tmp_path / "datasets"
    return settings.DATASETS_DIR


def rows(dataset: Dataset, name: str) -> list[dict]:
    return [json.loads(line) for line in (dataset.path / f"{name}.jsonl").read_text().splitlines()]


def demonstrate(prompt, text, author=None):
    author = author or make_user()
    return Demonstration.objects.create(project=prompt.project, prompt=prompt, author=author, judge="person", text=text)


def test_preferences_hold_pairs_ratings_and_their_completions(project, researcher):
    a, b = make_pair(project)
    comparison = make_comparison(a, b, "model_b", strength=2)
    rating = make_rating(a, thumbs=False, stars=2)
    dataset = freeze(project=project, kind="preferences", name="first", by=researcher)
    assert rows(dataset, "comparisons") == [
        {
            "prompt_id": a.prompt_id,
            "completion_a": a.pk,
            "completion_b": b.pk,
            "winner": "model_b",
            "strength": 2,
            "author": comparison.author_id,
        }
    ]
    assert rows(dataset, "ratings") == [{"completion": a.pk, "thumbs": False, "stars": 2, "author": rating.author_id}]
    assert [(c["id"], c["text"], c["prompt"]) for c in rows(dataset, "completions")] == [
        (a.pk, a.text, a.prompt.messages),
        (b.pk, b.text, b.prompt.messages),
    ]
    assert list(dataset.comparisons.all()) == [comparison] and list(dataset.ratings.all()) == [rating]
    assert dataset.counts["comparisons"] == 1 and dataset.counts["judges"] == 2
    assert dataset.counts["telling"] >= 1


def test_the_same_feedback_gives_the_same_hash_and_more_feedback_another(project, researcher):
    make_comparison(*make_pair(project))
    first = freeze(project=project, kind="preferences", name="first", by=researcher)
    again = freeze(project=project, kind="preferences", name="again", by=researcher)
    make_comparison(*make_pair(project))
    more = freeze(project=project, kind="preferences", name="more", by=researcher)
    assert first.content_hash == again.content_hash == first.path.name
    assert more.content_hash != first.content_hash
    assert len(rows(first, "comparisons")) == 1


def test_only_counted_feedback_of_the_train_split_and_one_kind_of_judge_goes_in(project, researcher):
    kept = make_comparison(*make_pair(project))
    make_comparison(*make_pair(project, side="eval"))
    make_comparison(*make_pair(project), author=make_user(is_simulated=True))
    for status in (Status.HELD, Status.EXCLUDED, Status.WITHDRAWN):
        make_comparison(*make_pair(project), status=status)
    dataset = freeze(project=project, kind="preferences", name="first", by=researcher)
    assert list(dataset.comparisons.all()) == [kept]
    assert dataset.counts["left_out"] == {
        "by another kind of annotator": 1,
        "not in the train split": 1,
        "held": 1,
        "excluded": 1,
        "withdrawn": 1,
    }


def test_simulated_annotators_can_be_frozen_by_themselves(project, researcher):
    make_comparison(*make_pair(project))
    simulated = make_comparison(*make_pair(project), author=make_user(is_simulated=True))
    dataset = freeze(project=project, kind="preferences", name="robots", by=researcher, judge="simulation")
    assert list(dataset.comparisons.all()) == [simulated] and dataset.judge == "simulation"


@pytest.mark.parametrize("kind", ["preferences", "sft"])
def test_freezing_feedback_of_the_eval_split_is_refused_in_words(project, researcher, kind, folder):
    make_comparison(*make_pair(project, side="eval"))
    with pytest.raises(Refused, match="must not train one") as refused:
        freeze(project=project, kind=kind, name="crossing", by=researcher, side="eval")
    assert refused.value.status == 400 and set(refused.value.errors) == {"side"}
    assert not Dataset.objects.exists() and not folder.exists()


def test_a_selected_row_of_the_other_side_is_refused_by_its_id(project, researcher):
    good = make_comparison(*make_pair(project))
    crossing = make_comparison(*make_pair(project, side="eval"))
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="preferences", name="x", by=researcher, comparisons=[good.pk, crossing.pk])
    assert set(refused.value.errors) == {"side"} and f" {crossing.pk} " in refused.value.errors["side"]


def test_a_selection_takes_the_named_rows_alone(project, researcher):
    wanted = make_comparison(*make_pair(project))
    make_comparison(*make_pair(project))
    make_rating(make_completion(make_prompt(project)))
    dataset = freeze(project=project, kind="preferences", name="x", by=researcher, comparisons=[wanted.pk])
    assert list(dataset.comparisons.all()) == [wanted] and not dataset.ratings.exists()


def test_selected_rows_of_another_project_judge_or_status_are_refused(project, researcher):
    elsewhere = make_comparison(*make_pair(make_project()))
    robot = make_comparison(*make_pair(project), author=make_user(is_simulated=True))
    held = make_comparison(*make_pair(project), status=Status.HELD)
    for row, name in ((elsewhere, "comparisons"), (robot, "judge"), (held, "comparisons")):
        with pytest.raises(Refused) as refused:
            freeze(project=project, kind="preferences", name="x", by=researcher, comparisons=[row.pk])
        assert set(refused.value.errors) == {name}


def test_a_dataset_without_feedback_is_refused_and_says_what_to_do(project, researcher, folder):
    make_comparison(*make_pair(project), author=make_user(is_simulated=True))
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="preferences", name="empty", by=researcher)
    assert refused.value.status == 400
    assert "judge=simulation" in refused.value.errors["feedback"]
    assert not Dataset.objects.exists() and not folder.exists()


def test_aspects_go_along_where_some_were_judged(project, researcher):
    a, b = make_pair(project)
    make_rating(a, stars=4, aspects={"helpful": 3})
    make_rating(b, stars=2)
    dataset = freeze(project=project, kind="preferences", name="first", by=researcher)
    assert [row.get("aspects", "no such key") for row in rows(dataset, "ratings")] == [{"helpful": 3}, "no such key"]


def test_ratings_of_aspects_alone_are_left_out_and_counted(project, researcher):
    completion = make_completion(make_prompt(project))
    make_rating(completion, aspects={"helpful": 3})
    kept = make_rating(completion, stars=4)
    dataset = freeze(project=project, kind="preferences", name="x", by=researcher)
    assert list(dataset.ratings.all()) == [kept]
    assert dataset.counts["left_out"] == {"ratings of aspects only": 1}


def test_sft_takes_the_best_answer_of_each_prompt_and_every_demonstration(project, researcher):
    prompt, other = make_prompt(project), make_prompt(project)
    good, fair, bad = (make_completion(prompt, text) for text in ("good", "fair", "bad"))
    for _ in range(2):
        make_rating(good, stars=5)
    make_rating(fair, stars=4)
    make_comparison(good, bad, "model_a")
    unrelated = make_rating(bad, thumbs=False)
    demonstrate(other, "written")
    dataset = freeze(project=project, kind="sft", name="x", by=researcher)
    assert rows(dataset, "examples") == [
        {"prompt": prompt.messages, "completion": "good"},
        {"prompt": other.messages, "completion": "written"},
    ]
    assert dataset.ratings.count() == 2 and unrelated not in dataset.ratings.all()
    assert dataset.comparisons.count() == 1 and dataset.demonstrations.count() == 1


def test_sft_takes_more_answers_per_prompt_when_asked(project, researcher):
    prompt = make_prompt(project)
    for text in ("one", "two", "three"):
        make_rating(make_completion(prompt, text), stars=5)
    dataset = freeze(project=project, kind="sft", name="x", by=researcher, per_prompt=2)
    assert len(rows(dataset, "examples")) == 2


def test_sft_refuses_when_nobody_was_positive(project, researcher):
    a, b = make_pair(project)
    make_comparison(a, b, "tie")
    make_rating(a, stars=3)
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="sft", name="x", by=researcher)
    assert "feedback" in refused.value.errors


def test_answers_cut_off_at_the_length_limit_are_not_examples_unless_asked(project, researcher):
    make_rating(make_completion(make_prompt(project), "and then", finish_reason="length"), stars=5)
    with pytest.raises(Refused, match="whole_answers=false"):
        freeze(project=project, kind="sft", name="x", by=researcher)
    dataset = freeze(project=project, kind="sft", name="x", by=researcher, whole_answers=False)
    (row,) = rows(dataset, "examples")
    assert row["completion"] == "and then" and row["is_cut"] is True
    assert rows(dataset, "examples")[0]["is_cut"] is True


def test_examples_are_counted_as_they_would_be_frozen(project, django_assert_max_num_queries):
    make_rating(make_completion(make_prompt(project), "and then", finish_reason="length"), stars=5)
    demonstrate(make_prompt(project), "written")
    for whole_answers, n in ((True, 1), (False, 2)):
        options = {"project": project, "judge": "person", "whole_answers": whole_answers}
        with django_assert_max_num_queries(12):  # what is left out takes 20 more
            assert count_examples(**options) == n
        assert select(kind="sft", **options).counts["examples"] == n


def test_prompts_of_either_side_are_frozen_by_category(project, researcher):
    make_prompt(project, category="science")
    wanted = make_prompt(project, category="science", side="eval")
    make_prompt(project, category="history", side="eval")
    dataset = freeze(project=project, kind="prompts", name="x", by=researcher, side="eval", categories=["science"])
    assert rows(dataset, "prompts") == [{"id": wanted.pk, "messages": wanted.messages}]
    assert list(dataset.prompts.all()) == [wanted] and dataset.judge == ""
    assert dataset.counts["left_out"]["not matching the filter"] == 1


def test_a_limit_takes_the_same_prompts_every_time(project, researcher):
    for _ in range(20):
        make_prompt(project)
    first = freeze(project=project, kind="prompts", name="x", by=researcher, limit=5)
    again = freeze(project=project, kind="prompts", name="y", by=researcher, limit=5)
    assert first.content_hash == again.content_hash and first.prompts.count() == 5
    assert first.counts["left_out"] == {"above the limit": project.prompts.count() - 5}


def test_a_name_is_used_once_in_a_project(project, researcher):
    make_prompt(project)
    freeze(project=project, kind="prompts", name="x", by=researcher)
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="prompts", name="x", by=researcher)
    assert refused.value.status == 409 and "name" in refused.value.errors


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("kind", {"kind": "pairs"}),
        ("judge", {"judge": "robot"}),
        ("side", {"side": "left"}),
        ("name", {"name": " "}),
        ("per_prompt", {"per_prompt": -1}),
        ("minimum", {"minimum": 2}),
        ("categories", {"categories": "science"}),
        ("comparisons", {"comparisons": ["1"]}),
        ("colour", {"colour": "red"}),
        ("limit", {"limit": 0}),
    ],
)
def test_a_wrong_option_is_refused_by_name(project, researcher, field, options):
    given = {"kind": "preferences", "name": "x", **options}
    with pytest.raises(Refused) as refused:
        freeze(project=project, by=researcher, **given)
    assert set(refused.value.errors) == {field}


def test_an_annotator_may_not_freeze(project):
    make_comparison(*make_pair(project))
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="preferences", name="x", by=make_user(project))
    assert refused.value.status == 403


def test_a_preview_counts_without_writing(project, folder):
    make_comparison(*make_pair(project), winner="tie")
    make_comparison(*make_pair(project))
    counts = select(project=project, kind="preferences").counts
    assert (counts["comparisons"], counts["telling"]) == (2, 1)
    assert not folder.exists() and not Dataset.objects.exists()


def test_a_vote_withdrawn_later_stays_in_the_frozen_rows(project, researcher):
    comparison = make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="x", by=researcher)
    comparison.status = Status.WITHDRAWN
    comparison.save()
    assert len(rows(dataset, "comparisons")) == 1 and list(dataset.comparisons.all()) == [comparison]


def test_a_double_click_on_freeze_is_refused_by_name(project, monkeypatch):
    """The twin has recorded the dataset while this one was still writing its rows."""
    make_prompt(project)
    write = frozen_rows.write

    def overtaken(files, **about):
        Dataset.objects.create(project=project, kind="prompts", name="x", side="train", content_hash="y")
        return write(files, **about)

    monkeypatch.setattr(frozen_rows, "write", overtaken)
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="prompts", name="x", by=None)
    assert refused.value.status == 409 and "name" in refused.value.errors


def edited(completion, text: str, **fields) -> Demonstration:
    return Demonstration.objects.create(
        **{
            "project": completion.prompt.project,
            "prompt": completion.prompt,
            "author": make_user(),
            "judge": "person",
            "text": text,
            "edited_from": completion,
            **fields,
        }
    )


def test_an_edit_is_preferred_to_what_it_was_made_out_of(project, researcher):
    a, b = make_pair(project)
    make_comparison(a, b)
    edit = edited(a, "Better words.")
    dataset = freeze(project=project, kind="preferences", name="d", by=researcher)
    assert rows(dataset, "comparisons")[1] == {
        "prompt_id": a.prompt_id,
        "completion_a": a.pk,
        "completion_b": -edit.pk,
        "winner": "model_b",
        "strength": None,
        "author": edit.author_id,
        "edit": True,
    }
    assert rows(dataset, "completions")[-1] == {
        "id": -edit.pk,
        "prompt_id": a.prompt_id,
        "prompt": a.prompt.messages,
        "text": "Better words.",
    }
    assert list(dataset.demonstrations.all()) == [edit]
    assert (dataset.counts["comparisons"], dataset.counts["edits"], dataset.counts["judges"]) == (1, 1, 2)


def test_the_pairs_of_edits_are_exported_like_all_others(project, researcher):
    a, _ = make_pair(project)
    edited(a, "Better words.")
    dataset = freeze(project=project, kind="preferences", name="d", by=researcher)
    (line,) = export(dataset, "trl-preference")
    row = json.loads(line)
    assert row["chosen"][0]["content"] == "Better words." and row["rejected"][0]["content"] == a.text
    assert set(row) == {"prompt", "chosen", "rejected"}


def test_edits_may_be_left_out_and_then_change_nothing(project, researcher):
    a, b = make_pair(project)
    make_comparison(a, b)
    before = freeze(project=project, kind="preferences", name="before", by=researcher)
    edited(a, "Better words.")
    without = freeze(project=project, kind="preferences", name="without", by=researcher, edits=False)
    with_them = freeze(project=project, kind="preferences", name="with", by=researcher)
    assert before.content_hash == without.content_hash != with_them.content_hash
    assert not without.demonstrations.exists()


def test_answers_written_by_hand_are_no_preferences(project, researcher):
    a, b = make_pair(project)
    make_comparison(a, b)
    edited(a, "From nothing.", edited_from=None)
    dataset = freeze(project=project, kind="preferences", name="d", by=researcher)
    assert len(rows(dataset, "comparisons")) == 1 and "edits" not in dataset.counts


@pytest.mark.parametrize("status", [Status.HELD, Status.EXCLUDED, Status.WITHDRAWN])
def test_an_edit_that_does_not_count_is_left_out(project, researcher, status):
    a, b = make_pair(project)
    make_comparison(a, b)
    edited(a, "Better words.", status=status)
    dataset = freeze(project=project, kind="preferences", name="d", by=researcher)
    assert len(rows(dataset, "comparisons")) == 1 and dataset.counts["left_out"] == {str(status): 1}


def test_edits_must_be_yes_or_no(project, researcher):
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="preferences", name="d", by=researcher, edits="yes")
    assert list(refused.value.errors) == ["edits"]


def test_rows_are_named_by_as_many_ids_as_somebody_likes(project, researcher):
    """More than SQLite takes as values of one statement; what is no row is told with a few of them."""
    named = [make_comparison(*make_pair(project), author=make_user(project)).pk for _ in range(2)]
    unknown = [*range(named[-1] + 1, named[-1] + 300_000), 2**70]
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="preferences", name="x", by=researcher, comparisons=[*named, *unknown])
    first = ", ".join(map(str, unknown[:5]))
    assert refused.value.errors == {"comparisons": f"This project has no comparisons {first} and 299995 more."}
    made = freeze(project=project, kind="preferences", name="x", by=researcher, comparisons=[*named, *named])
    assert sorted(made.comparisons.values_list("pk", flat=True)) == named


class ManyRows:
    """Rows that are made one by one, and the most of them that somebody held at once."""

    class Row(dict):
        """A row, as a plain one cannot be seen to be let go."""

    def __init__(self, n: int) -> None:
        self.n, self.most = n, 0

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Row]:
        alive: list[weakref.ref[ManyRows.Row]] = []
        for number in range(self.n):
            row = self.Row(id=number, text="ä")
            alive = [ref for ref in alive if ref() is not None] + [weakref.ref(row)]
            self.most = max(self.most, len(alive))
            yield row


def test_rows_are_written_one_by_one_under_the_hash_of_all_of_them(folder):
    many = ManyRows(50)
    name = frozen_rows.write({"rows": many, "empty": []}, kind="labelled", side="train")
    assert many.most <= 2, "one is being made while the one before it is written"
    assert name == frozen_rows.content_hash({"empty": [], "rows": list(many)}, kind="labelled", side="train")
    assert [row["id"] for row in frozen_rows.read(folder / name, "rows")] == list(range(50))
    assert (folder / name / "empty.jsonl").read_bytes() == b""


@pytest.mark.parametrize("kind", ["preferences", "sft", "prompts"])
def test_texts_are_read_in_parts_and_give_the_same_dataset(project, researcher, monkeypatch, kind):
    for _ in range(4):
        a, b = make_pair(project)
        make_comparison(a, b)
        demonstrate(a.prompt, f"Words of {a.pk}.")
        edited(b, f"Better words than {b.pk}.")
    at_once = freeze(project=project, kind=kind, name="at once", by=researcher)
    monkeypatch.setattr(answer_texts, "_PART", 3)
    in_parts = freeze(project=project, kind=kind, name="in parts", by=researcher)
    assert in_parts.content_hash == at_once.content_hash and in_parts.counts == at_once.counts
    texts = next(rows for rows in select(project=project, kind=kind).files.values() if not isinstance(rows, list))
    with CaptureQueriesContext(connection) as asked:
        next(iter(texts))
    assert len(texts) > 3 and len(asked) <= 2, "one part of the answers and their prompts"


def test_a_prompt_that_is_deleted_while_it_is_frozen_is_told(project, researcher, monkeypatch):
    prompt, write = make_prompt(project), frozen_rows.write

    def overtaken(files, **about):
        prompt.delete()
        return write(files, **about)

    monkeypatch.setattr(frozen_rows, "write", overtaken)
    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="prompts", name="x", by=researcher)
    assert "1 of its rows were deleted" in refused.value.errors["feedback"] and not Dataset.objects.exists()


@pytest.mark.parametrize("stage", ["writing files", "storing files"])
def test_a_prompt_that_is_edited_into_the_other_split_while_it_is_frozen_is_in_no_dataset(project, researcher, stage):
    make_prompt(project, "One")
    prompt = make_prompt(project, "Two")

    def edit(now: str, share: float) -> None:
        if now == stage and prompt.side == "train":
            Project.objects.update(eval_percent=90)
            prompt.project.refresh_from_db()
            for number in itertools.count():
                edited = edit_prompt(prompt=prompt, by=researcher, messages=[{"role": "user", "content": str(number)}])
                if edited.prompt.side == "eval":
                    prompt.side = "eval"
                    return

    with pytest.raises(Refused) as refused:
        freeze(project=project, kind="prompts", name="train", by=researcher, tell=edit)
    assert refused.value.status == 409 and prompt.side == "eval" and not Dataset.objects.exists()
