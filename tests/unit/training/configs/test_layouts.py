"""Every option of every kind has its place in a form, and words."""

from __future__ import annotations

import dataclasses

import pytest

from training import configs
from training.configs.forms import labels, layouts, option_list
from training.configs.forms.starting_points import starting_points, values_by_name

OURS = [config for config in configs.CONFIGS.values() if config.__module__.startswith("training.")]


def options(config) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


@pytest.mark.parametrize("config", OURS, ids=lambda config: config.kind)
def test_every_option_stands_at_first_or_under_a_heading(config):
    first = layouts.first_fields(config)
    assert set(first) <= {*options(config), *layouts.ROWS}
    lost = [n for n in options(config) if n not in first and layouts.group_of(config.kind, n) == layouts.OTHER]
    assert not lost


@pytest.mark.parametrize("config", OURS, ids=lambda config: config.kind)
def test_at_most_six_fields_stand_at_first(config):
    shown = layouts.first_fields(config)
    if config.kind == "evaluate":  # by measure; the measure itself is chosen before
        only = {field.name: field.metadata["only"] for field in dataclasses.fields(config)}
        shown = [name for name in shown if "perplexity" in (only.get(name) or ("perplexity",))]
    assert len(shown) <= 6


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("ppo", "parent reward_model dataset steps kl_coef max_new_tokens"),
        ("dpo", "parent dataset beta epochs learning_rate name"),
        ("kto", "parent dataset beta epochs learning_rate name"),
        ("grpo", "parent reward_model dataset steps group_size beta"),
        ("rloo", "parent reward_model dataset steps group_size beta"),
        ("sft", "parent dataset adapters epochs learning_rate name"),
        ("domain", "parent dataset adapters epochs learning_rate name"),
        ("pretrain", "parent dataset size max_tokens context_length name"),
        ("sample", "parent dataset completions_per_prompt max_new_tokens temperature name"),
    ],
)
def test_the_six_fields_of_a_kind_in_their_order(kind, first):
    assert layouts.first_fields(configs.CONFIGS[kind]) == tuple(first.split())


def test_no_option_has_two_headings_and_no_heading_an_option_that_no_kind_has():
    listed = [name for names in layouts.GROUPS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) <= {*layouts.ROWS, *(name for config in OURS for name in options(config))}


def test_two_fields_of_a_form_never_have_the_same_words():
    for config in OURS:
        rows = [
            name for name in layouts.ROWS if (config.kind, name) != ("evaluate", "dataset")
        ]  # it takes no first one
        words = [labels.label_of(config.kind, name) for name in (*rows, *options(config))]
        assert len(words) == len(set(words)), config.kind
        assert all(text[0].isupper() and "_" not in text for text in words)


@pytest.mark.parametrize("config", OURS, ids=lambda config: config.kind)
def test_every_preset_is_a_valid_config(config):
    for point in starting_points(config):
        chosen = configs.parse(config.kind, {"preset": point.name})
        assert {name: getattr(chosen, name) for name in point.values} == point.values
    for name in values_by_name(config):
        configs.parse(config.kind, {"preset": name})


def test_what_is_named_beside_a_preset_wins():
    assert configs.parse("sft", {"preset": "quick", "epochs": 2.0}).epochs == 2.0
    assert configs.parse("sft", {"preset": "quick"}).max_length == 128


@pytest.mark.parametrize("config", OURS, ids=lambda config: config.kind)
def test_the_apis_documentation_has_each_option_once_in_the_group_of_the_form(config):
    groups = option_list.grouped_options(config.kind)
    listed = [field.name for _, fields in groups for field in fields]
    assert sorted(listed) == sorted(options(config))
    for title, fields in groups:
        for field in fields:
            is_first = field.name in layouts.first_fields(config)
            assert title == (option_list.FIRST_GROUP if is_first else layouts.group_of(config.kind, field.name))


def test_the_options_of_a_kind_stand_group_by_group_with_default_and_help():
    ppo = option_list.options_as_markdown().partition("**ppo**")[2].partition("\n**")[0]
    assert ppo.index("*Main*") < ppo.index("`kl_coef` (0.1): ") < ppo.index("*KL*") < ppo.index("`kl_horizon` (64")
    assert "`kl_target` (null): " in ppo and "`value_warm_up` (true): " in ppo


@pytest.mark.parametrize("kind", ["export", "sample"])
def test_a_kind_of_one_process_says_so_and_which_kinds_share_a_model(kind):
    with pytest.raises(configs.ConfigError) as refused:
        configs.parse(kind, {"sharding": "full"})
    text = refused.value.errors["sharding"]
    assert text.startswith(f"is not an option of {kind}, which learns in one process: leave it out.")
    assert all(name in text for name in ("sft", "reward", "dpo", "kto", "ppo"))
