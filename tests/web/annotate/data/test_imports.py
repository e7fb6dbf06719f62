"""How transcripts are split into prompt and answers, and real hh-rlhf where it is at hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from annotate.core.errors import Refused
from annotate.data.datasets import best_answers
from annotate.data.datasets.preferences import Comparison as Pair
from annotate.data.datasets.preferences import Rating
from annotate.data.imports.actions import Order, import_pairs, start_import
from annotate.models import Comparison, Completion, Import, Prompt
from common import transcripts
from tests.support.annotate.importing import work_off_imports
from tests.support.factories import make_project, make_user

HARMLESS = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "hh-rlhf-harmless-base-test.jsonl.gz"


def test_a_transcript_is_split_into_turns():
    text = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHow are you?\n\nHuman:  Fine. "
    assert transcripts.split(text) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.\n\nHow are you?"},
        {"role": "user", "content": "Fine."},
    ]


def test_a_speakers_name_inside_a_sentence_begins_no_turn():
    assert transcripts.split("\n\nHuman: Who said Human: or Assistant: here?")[0]["content"].startswith(
        "Who said Human:"
    )


def test_two_turns_of_one_speaker_are_one():
    assert transcripts.split("\n\nHuman: a\n\nHuman: b") == [{"role": "user", "content": "a\n\nb"}]


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [
        ("\n\nHuman: a\n\nAssistant: ", "\n\nHuman: a\n\nAssistant: c", "empty answer"),
        ("\n\nHuman: a", "\n\nHuman: a\n\nAssistant: c", "chosen does not end"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a", "rejected does not end"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: x\n\nAssistant: b", "different prompts"),
        ("\n\nAssistant: b", "\n\nAssistant: c", "no Human turn"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant:  b ", "the same"),
        ("", "", "does not end"),
    ],
)
def test_what_is_no_pair_is_told_in_words(chosen, rejected, why):
    with pytest.raises(ValueError, match=why):
        transcripts.pair(chosen, rejected)


@pytest.mark.django_db
def test_a_bad_pair_in_a_list_is_named_and_nothing_is_added():
    project = make_project()
    user = make_user(project, role="researcher")
    good = transcripts.Pair([{"role": "user", "content": "Hi"}], "Hello", "What")
    bad = transcripts.Pair([{"role": "user", "content": "Hi"}], "Hello", " ")
    with pytest.raises(Refused) as refused:
        import_pairs(project=project, pairs=[good, bad], source="x", by=user)
    assert set(refused.value.errors) == {"1.chosen"}
    assert not Prompt.objects.exists()


@pytest.mark.django_db
def test_the_same_pair_from_another_source_is_another_annotation():
    project = make_project()
    user = make_user(project, role="researcher")
    pair = transcripts.Pair([{"role": "user", "content": "Hi"}], "Hello", "What")
    for source in ("one", "one", "two"):
        import_pairs(project=project, pairs=[pair], source=source, by=user)
    assert (Prompt.objects.count(), Comparison.objects.count()) == (1, 2)


@pytest.mark.thorough
@pytest.mark.django_db
@pytest.mark.slow
@pytest.mark.skipif(not HARMLESS.exists(), reason=f"{HARMLESS} is not here; SHARED_DATA names its folder")
def test_hh_rlhf_is_imported_in_seconds_and_twice_adds_nothing_twice():
    project = make_project()
    user = make_user(project, role="researcher")
    started = time.monotonic()
    done = _imported(project, user)
    assert time.monotonic() - started < 30
    assert done.counts["comparisons"] == 2312 and not done.counts["bad"]  # four of its answers are empty: answers, too
    stored = (Prompt.objects.count(), Completion.objects.count(), Comparison.objects.count())
    again = _imported(project, user)
    assert again.counts["already"] == 2312 and not again.counts.get("comparisons")
    assert (Prompt.objects.count(), Completion.objects.count(), Comparison.objects.count()) == stored


def _imported(project, user) -> Import:
    order = Order(source="hh-rlhf", format="hh-rlhf")
    with HARMLESS.open("rb") as file:
        made = start_import(project=project, file=file, file_name=HARMLESS.name, order=order, by=user)
    work_off_imports()
    return Import.objects.get(pk=made.pk, state="done")


def test_one_lucky_vote_does_not_beat_nine_good_ones_of_ten():
    ratings = [Rating(1, thumbs=True)] + [Rating(2, thumbs=True)] * 9 + [Rating(2, thumbs=False)]
    judged = best_answers.answers_from([], ratings)
    assert judged[1].score == 0.75 and judged[2].score == pytest.approx(9.5 / 11)


def test_stars_thumbs_and_pairs_make_one_score():
    judged = best_answers.answers_from([Pair(1, 7, 8, "model_a"), Pair(1, 7, 8, "both_bad")], [Rating(7, stars=4)])
    assert judged[7].score == pytest.approx((1 + 0 + 0.75 + 0.5) / 4)
    assert (judged[8].score, judged[8].positive) == (pytest.approx(0.5 / 3), 0)


def test_an_answer_that_nobody_liked_is_never_taken():
    judged = best_answers.answers_from([Pair(1, 7, 8, "tie")], [])
    assert best_answers.best([(judged[7], 1, "text")], per_prompt=5, minimum=0) == []


def test_the_same_text_is_taken_once():
    judged = best_answers.answers_from([], [Rating(1, stars=5), Rating(2, stars=5), Rating(3, stars=4)])
    rows = [(judged[1], 1, "same"), (judged[2], 1, "same "), (judged[3], 1, "other")]
    assert best_answers.best(rows, per_prompt=2, minimum=0.6) == [1, 3]
