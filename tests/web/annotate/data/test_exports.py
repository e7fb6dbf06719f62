"""What the exported lines hold, in each format, and that TRL's own reader takes them."""

from __future__ import annotations

import io
import json

import pytest

from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.data.datasets.frozen_exports import export, export_file, formats_of
from annotate.data.rows.row_files import read_rows
from annotate.models import Demonstration
from common import transcripts
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_pair,
    make_prompt,
    make_rating,
    make_user,
)

pytestmark = pytest.mark.django_db


def frozen(project, kind="preferences"):
    return freeze(project=project, kind=kind, name=f"a {kind}", by=None)


def rows(dataset, format_):
    return [json.loads(line) for line in export(dataset, format_)]


def said(*texts):
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


def answer(text):
    return [{"role": "assistant", "content": text}]


def test_a_pair_is_exported_as_chosen_and_rejected(project):
    prompt = make_prompt(project, messages=said("Hi", "Hello", "Why?"))
    a, b = make_completion(prompt, "No idea."), make_completion(prompt, "Because.")
    make_comparison(a, b, "model_b")
    dataset = frozen(project)
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: "
    assert rows(dataset, "hh-rlhf") == [{"chosen": start + "Because.", "rejected": start + "No idea."}]
    assert rows(dataset, "trl-preference") == [
        {"prompt": prompt.messages, "chosen": answer("Because."), "rejected": answer("No idea.")}
    ]


@pytest.mark.parametrize("winner", ["tie", "both_bad"])
def test_a_tie_makes_no_preference_pair_but_stands_in_our_own_format(project, winner):
    make_comparison(*make_pair(project), winner)
    dataset = frozen(project)
    assert rows(dataset, "hh-rlhf") == rows(dataset, "trl-preference") == []
    assert [row["winner"] for row in rows(dataset, "jsonl")] == [winner]


def test_a_margin_is_given_for_every_pair_or_for_none(project):
    make_comparison(*make_pair(project), strength=3)
    assert [row["margin"] for row in rows(frozen(project), "trl-preference")] == [3.0]
    make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="more", by=None)
    assert all("margin" not in row for row in rows(dataset, "trl-preference"))


def test_unpaired_labels_come_from_thumbs_and_stars_and_never_from_pairs(project):
    completions = [make_completion(make_prompt(project), text) for text in "abcdef"]
    for completion, judged in zip(
        completions,
        ({"thumbs": True}, {"thumbs": False, "stars": 5}, {"stars": 5}, {"stars": 3}, {"stars": 1}, {"stars": 4}),
        strict=True,
    ):
        make_rating(completion, **judged)
    make_comparison(*make_pair(project))
    found = {row["completion"][0]["content"]: row["label"] for row in rows(frozen(project), "trl-unpaired")}
    assert found == {"a": True, "b": False, "c": True, "e": False, "f": True}


def test_examples_and_prompts_are_exported(project):
    prompt = make_prompt(project, "Hi")
    Demonstration.objects.create(project=project, prompt=prompt, author=make_user(), judge="person", text="Hello.")
    assert rows(frozen(project, "sft"), "trl-prompt-completion") == [
        {"prompt": prompt.messages, "completion": answer("Hello.")}
    ]
    assert rows(frozen(project, "prompts"), "trl-prompt-only") == [{"prompt": prompt.messages}]


def test_a_format_of_another_kind_is_refused_with_the_right_ones(project):
    make_prompt(project)
    with pytest.raises(Refused, match="trl-prompt-only"):
        export(frozen(project, "prompts"), "hh-rlhf")


def test_a_dataset_whose_files_are_gone_says_so_before_the_first_line(project, settings, tmp_path):
    make_prompt(project)
    dataset = frozen(project, "prompts")
    settings.DATASETS_DIR = tmp_path / "elsewhere"
    with pytest.raises(Refused) as refused:
        export(dataset, "jsonl")
    assert refused.value.status == 410


def test_what_is_exported_as_hh_rlhf_is_read_back_as_the_same_pair(project):
    messages = [{"role": "system", "content": "Be brief."}, *said("Hi", "Hello", "Why?")]
    prompt = make_prompt(project, messages=messages)
    make_comparison(make_completion(prompt, "Because\n\nit is."), make_completion(prompt, "No."))
    (row,) = rows(frozen(project), "hh-rlhf")
    assert transcripts.pair(row["chosen"], row["rejected"]) == transcripts.Pair(messages, "Because\n\nit is.", "No.")


@pytest.mark.slow
def test_trl_takes_the_lines_for_conversations(project):
    data_utils = pytest.importorskip("trl.data_utils")
    make_comparison(*make_pair(project))
    make_rating(make_completion(make_prompt(project)), stars=5)
    dataset = frozen(project)
    for format_ in ("trl-preference", "trl-unpaired"):
        (row,) = rows(dataset, format_)
        assert data_utils.is_conversational(row)


@pytest.mark.parametrize("file", ["csv", "parquet", "jsonl.gz"])
def test_a_dataset_may_be_had_in_another_kind_of_file(project, file):
    make_comparison(*make_pair(project), "model_b")
    dataset = frozen(project)
    (wanted,) = rows(dataset, "trl-preference-text")
    made = export_file(dataset, "trl-preference-text", file)
    (found,) = read_rows(io.BytesIO(b"".join(made.parts)), made.name)
    assert found.row == wanted and made.name.endswith(file)
    with pytest.raises(Refused, match="parquet"):
        export_file(dataset, "hh-rlhf", "xlsx")


def test_every_format_of_a_dataset_gives_rows(project):
    make_comparison(*make_pair(project), strength=2)
    make_rating(make_completion(make_prompt(project)), stars=5)
    for kind in ("preferences", "sft", "prompts"):
        dataset = freeze(project=project, kind=kind, name=kind, by=None)
        for format_ in formats_of(dataset):
            assert rows(dataset, format_), (kind, format_)
