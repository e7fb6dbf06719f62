"""The parts of a reward: read, kept as lines, and refused with the field that is wrong."""

from __future__ import annotations

import time

import pytest

from training import configs
from training.configs.rewards import part_lines, reward_parts
from training.runs.figures import curves

KINDS = ("ppo", "grpo", "rloo", "best_of", "rejection")
LINES = r"""
# judged by two, and by rules
reward_model models='helpful 3, helpful 4' spread_penalty=0.5
number weight=2 tolerance=0.01
regex pattern='^Answer: \d+$' where=last_line weight=-0.2
json_schema schema='{"type":
  "object"}'
length maximum=80 low=none
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_follows_a_reward_has_parts_and_none_by_default(kind):
    assert configs.parse(kind, {}).rewards == ""
    kept = configs.parse(kind, {"rewards": LINES}).rewards
    assert configs.parse(kind, {"rewards": kept}).rewards == kept, "what is kept says the same"
    parts = part_lines.read_parts(kept)
    assert reward_parts.part_names(parts) == ("reward_model", "number", "regex", "json_schema", "length")
    assert [part.weight for part in parts] == [1, 2, -0.2, 1, 1]
    assert parts[2].pattern == r"^Answer: \d+$", "a backslash is a backslash"
    assert reward_parts.models_named(parts) == ("helpful 3", "helpful 4")
    assert (parts[0].low, parts[0].high, parts[1].low) == (-3, 3, None)


def test_objects_say_the_same_as_lines():
    objects = [
        {"kind": "reward_model", "models": ["a", "b c"], "spread_penalty": 1},
        {"kind": "regex", "pattern": 'it\'s "so" \\d', "ignore_case": True},
        {"kind": "json_schema", "schema": {"type": "object"}},
        {"kind": "number", "low": 0.25, "weight": 3},
        {"kind": "number"},
    ]
    kept = configs.parse("grpo", {"rewards": objects}).rewards
    parts = part_lines.read_parts(kept)
    assert parts == part_lines.parts_of(objects)
    assert parts[1].pattern == 'it\'s "so" \\d'
    assert reward_parts.part_names(parts)[-1] == "number_2"


@pytest.mark.parametrize(
    ("rewards", "field"),
    [
        ("number\nregex pattern='('", "rewards[1].pattern"),
        ("number\nregex", "rewards[1].pattern"),
        ("guess", "rewards[0].kind"),
        ([{"weight": 1}], "rewards[0].kind"),
        (["number"], "rewards[0]"),
        ("number tolerance=-1", "rewards[0].tolerance"),
        ([{"kind": "number", "tolerance": 10**400}], "rewards[0].tolerance"),
        ("number weight=much", "rewards[0].weight"),
        ("number pattern=x", "rewards[0].pattern"),
        ("number low=2 high=1", "rewards[0].low"),
        ("number weight", "rewards[0]"),
        ("number weight=1 weight=2", "rewards[0].weight"),
        ("length", "rewards[0].minimum"),
        ("length minimum=3 maximum=2", "rewards[0].maximum"),
        ("""json_schema schema='{"type": 3}'""", "rewards[0].schema"),
        ("json_schema schema='{'", "rewards[0].schema"),
        ("regex pattern='(a{9999}){9999}'", "rewards[0].pattern"),
        ("regex pattern='(?x)(a{ 999 }){ 999,}'", "rewards[0].pattern"),
        ("regex pattern='a{1000000000}'", "rewards[0].pattern"),
        ([{"kind": "json_schema", "schema": {"anyOf": [{"pattern": "(a{90}){90}"}] * 2}}], "rewards[0].schema"),
        ("""json_schema schema='{"items": {"pattern": "((a{999}){999}){999}"}}'""", "rewards[0].schema"),
        ("""json_schema schema='{"patternProperties": {"(a{9999}){9999}": {}}}'""", "rewards[0].schema"),
        ([{"kind": "json_schema", "schema": '{"default": ' + "[" * 4000 + "]" * 4000 + "}"}], "rewards[0].schema"),
        ("language language=german", "rewards[0].language"),
        ("reward_model models=a,a", "rewards[0].models"),
        ("reward_model spread_penalty=1", "rewards[0].spread_penalty"),
        ("number weight=0", "rewards"),
        ("number 'open", "rewards"),
        (7, "rewards"),
        ("length maximum=3\n" * 21, "rewards"),
    ],
)
def test_what_is_wrong_is_named_with_its_part(rewards, field):
    with pytest.raises(configs.ConfigError) as refused:
        configs.parse("ppo", {"rewards": rewards})
    assert list(refused.value.errors) == [field]
    assert refused.value.errors[field]


def test_a_value_of_many_lines_is_read_in_one_go():
    started = time.process_time()
    with pytest.raises(configs.ConfigError):
        configs.parse("ppo", {"rewards": "regex pattern='" + '"\n' * 20_000})
    assert time.process_time() - started < 5, "each line from the beginning on took minutes"


def test_what_people_wrote_is_not_kept_for_ever():
    for number in range(200):
        part_lines.read_parts(f"length maximum={number + 1}")
    assert part_lines.read_parts.cache_info().currsize < 100


def test_all_wrong_parts_are_named_at_once():
    with pytest.raises(configs.ConfigError) as refused:
        configs.parse("ppo", {"rewards": "length\nnumber\nregex pattern='('", "steps": 0})
    assert set(refused.value.errors) == {"rewards[0].minimum", "rewards[2].pattern", "steps"}


@pytest.mark.parametrize("beside", [{"reward_function": "f"}, {"value_init": "reward"}])
def test_parts_stand_for_the_function_and_have_no_head(beside):
    with pytest.raises(configs.ConfigError):
        configs.parse("ppo", {"rewards": "number", **beside})


def test_parts_are_drawn_beside_the_score_and_before_what_else_is_measured():
    measured = {"score_mean", "kl", "entropy", "reward_number", "spread_reward_model", "cost_judge", "reward"}
    drawn = curves.curves_of(measured, {})
    assert [curve.name for curve in drawn] == [
        *("score_mean", "kl", "reward_number", "spread_reward_model", "entropy", "reward", "cost_judge"),
    ]
    titles = {curve.name: curve.title for curve in drawn}
    assert titles["reward_number"] == "Part of the reward: number" and "Deviation" in titles["spread_reward_model"]
    assert not titles["reward"].startswith("Part"), "that is the whole"
