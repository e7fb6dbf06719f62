"""The learning rate that a run goes by when none was chosen: it depends on what is trained."""

from __future__ import annotations

import pytest

from training import configs
from training.runs.ordering import remedies

KINDS = ("ppo", "sft", "grpo", "rloo", "dpo", "kto")
ADAPTERS = dict.fromkeys(KINDS, ("lora", "top")) | {"sft": ("lora", "top", "qlora")}


@pytest.mark.parametrize("kind", KINDS)
def test_training_every_weight_goes_at_a_tenth_of_the_rate_of_adapters(kind: str):
    full = configs.parse(kind, {"adapters": "full"}).learning_rate
    for adapters in ADAPTERS[kind]:
        assert configs.parse(kind, {"adapters": adapters}).learning_rate == pytest.approx(10 * full)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_that_somebody_chose_is_kept(kind: str):
    assert configs.parse(kind, {"adapters": "full", "learning_rate": 7e-4}).learning_rate == 7e-4


def test_the_run_keeps_the_number_that_it_goes_by():
    config = configs.parse("sft", {"learning_rate": None, "adapters": "full"})
    assert vars(config)["learning_rate"] == config.rate == 2e-5


def test_a_new_run_like_an_old_one_takes_the_rate_of_its_own_adapters():
    old = vars(configs.parse("ppo", {"adapters": "top", "reward_function": "a.b"}))
    again = configs.as_ordered("ppo", old)
    assert again["learning_rate"] is None
    assert configs.parse("ppo", {**again, "adapters": "full"}).learning_rate == 5e-5
    chosen = configs.as_ordered("ppo", {**old, "learning_rate": 1e-3})
    assert chosen["learning_rate"] == 1e-3


def test_an_old_config_that_is_no_longer_valid_is_shown_as_it_is():
    assert configs.as_ordered("ppo", {"no_such_option": 1}) == {"no_such_option": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_forms_help_names_both_rates(kind: str):
    told = configs.CONFIGS[kind].__dataclass_fields__["learning_rate"].metadata["help"]
    rates = [configs.parse(kind, {"adapters": adapters}).learning_rate for adapters in ("lora", "full")]
    assert all(f"{rate:g}" in told for rate in rates)


def test_the_remedy_of_a_run_that_diverged_is_a_third_of_the_rate_it_went_by():
    assert remedies.changes_for("not_finite", "grpo", {"learning_rate": None, "adapters": "full"}) == {
        "learning_rate": 3.3e-5
    }
