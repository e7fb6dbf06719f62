"""Which recipe is proposed follows from what was annotated, and says why."""

from __future__ import annotations

import pytest

from annotate.data.datasets.preferences import ENOUGH, ENOUGH_PROMPTS
from evaluation.first_model.recipe_choice import EXAMPLES, PAIRS, THUMBS_OF_EACH, Annotated, choose

ENOUGH_OF_ALL = Annotated(pairs=ENOUGH, informative=ENOUGH, prompts_informative=ENOUGH_PROMPTS)


def proposed(**fields) -> str:
    option = choose(Annotated(**fields)).proposed
    return option.kind if option else ""


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, ""),
        ({"pairs": PAIRS - 1}, ""),
        ({"pairs": PAIRS}, "dpo"),
        ({"pairs": PAIRS, "ties": 100}, "dpo"),
        ({"ties": 100}, ""),  # a tie makes no pair
        ({"thumbs_up": THUMBS_OF_EACH, "thumbs_down": THUMBS_OF_EACH}, "kto"),
        ({"thumbs_up": 50, "thumbs_down": THUMBS_OF_EACH - 1}, ""),
        ({"pairs": PAIRS, "thumbs_up": 40, "thumbs_down": 30}, "kto"),  # more thumbs than pairs
        ({"pairs": 40, "thumbs_up": 20, "thumbs_down": 20}, "dpo"),
        ({"pairs": PAIRS, "thumbs_up": 100, "thumbs_down": 2}, "dpo"),  # two thumbs down tell little
        ({"examples": EXAMPLES}, "sft"),
        ({"examples": EXAMPLES - 1}, ""),
        ({"pairs": ENOUGH, "informative": ENOUGH, "prompts_informative": ENOUGH_PROMPTS}, "ppo"),
        ({"pairs": ENOUGH, "informative": ENOUGH, "prompts_informative": ENOUGH_PROMPTS - 1}, "dpo"),
        ({"pairs": ENOUGH - 1, "informative": ENOUGH - 1, "prompts_informative": 60}, "dpo"),
    ],
)
def test_what_is_proposed(fields, kind):
    assert proposed(**fields) == kind


def test_ppo_is_not_proposed_again_after_its_reward_model_failed():
    choice = choose(ENOUGH_OF_ALL, reward_is_refused=True)
    assert choice.proposed is not None and choice.proposed.kind == "dpo"
    ppo = choice.option("ppo")
    assert ppo is not None and ppo.is_possible and "was not better than chance" in ppo.reason
    assert choice.further == ""


def test_every_recipe_says_what_it_would_learn_from_or_what_is_missing():
    reasons = {option.kind: option.reason for option in choose(Annotated(pairs=1, thumbs_up=3)).options}
    assert reasons["dpo"] == f"DPO needs {PAIRS} comparisons with a winner; there is 1."
    assert reasons["kto"].endswith("there are 3 and 0.")
    assert "there are 0" in reasons["sft"] and "there are 0, on 0." in reasons["ppo"]


def test_what_more_annotations_would_allow():
    assert choose(ENOUGH_OF_ALL).further == ""
    few = choose(Annotated(pairs=30, informative=30, prompts_informative=8)).further
    assert "50 more annotations" in few and "12 more prompts" in few
    almost = choose(Annotated(pairs=30, informative=ENOUGH - 1, prompts_informative=ENOUGH_PROMPTS - 1)).further
    assert almost.startswith("With 1 more annotation that separates answers and 1 more prompt on which they differ,")


def test_kto_says_why_it_comes_before_pairs_that_are_there():
    kto = choose(Annotated(pairs=PAIRS, thumbs_up=20, thumbs_down=20)).proposed
    assert kto is not None and kto.kind == "kto" and "more pairs than the comparisons" in kto.reason
    alone = choose(Annotated(thumbs_up=20, thumbs_down=20)).proposed
    assert alone is not None and "comparisons" not in alone.reason


def test_what_is_proposed_in_place_of_ppo_says_why():
    few = choose(Annotated(pairs=30, informative=30, prompts_informative=8)).instead_of_ppo
    assert few.startswith("PPO needs 50 more annotations") and few.endswith("so DPO is proposed.")
    assert choose(ENOUGH_OF_ALL).instead_of_ppo == choose(Annotated()).instead_of_ppo == ""
    refused = choose(ENOUGH_OF_ALL, reward_is_refused=True).instead_of_ppo
    assert "PPO would learn noise" in refused and "again after" not in refused
    said_since = Annotated(pairs=ENOUGH, informative=ENOUGH + 1, prompts_informative=ENOUGH_PROMPTS)
    for refused_at, words in (
        (ENOUGH, f"after {ENOUGH - 1} more annotations that separate"),
        (ENOUGH // 2 + 1, "after 1 more"),
    ):
        assert words in choose(said_since, reward_is_refused=True, refused_at=refused_at).instead_of_ppo
