"""Verifiers of an answer: 1 where it is right, 0 where it is not, and never long."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from training.configs.rewards import part_lines, reward_parts
from training.configs.rewards.reward_parts import KINDS
from training.core.run_directory import RecipeFailure
from training.recipes.rewards.verifiers import last_number, verifier_of


def verdict(line: str, text: str, answer: str = "", asked: str = "What is it?") -> float:
    [part] = part_lines.read_parts(line)
    return verifier_of(part)([{"role": "user", "content": asked}], text, answer)


@pytest.mark.parametrize(
    ("line", "text", "answer", "right"),
    [
        ("exact", " **Paris**. ", "paris", 1),
        ("exact", "It is Paris", "Paris", 0),
        ("exact where=last_line", "I think:\nParis!\n", "Paris", 1),
        ("exact ignore_case=false", "paris", "Paris", 0),
        ("exact", "ﬁne  wine", "fine wine", 1),
        ("exact", "", "Paris", 0),
        ("number", "First 3, then 41, so 42.", "#### 42", 1),
        ("number", "42, I think. No: 41", "42", 0),
        ("number", "1,234.50", "1234.5", 1),
        ("number", "−7", "-7", 1),
        ("number", "none", "7", 0),
        ("number tolerance=0.1", "3.2", "3.14", 1),
        ("number tolerance=0 relative_tolerance=0.01", "101", "100", 1),
        ("number tolerance=0 relative_tolerance=0.01", "102", "100", 0),
        ("number", "1e999", "7", 0),
        ("number", "1/4", "3/4", 0),
        (r"regex pattern='^Answer: \d+$' where=last_line", "So\nAnswer: 12", "", 1),
        (r"regex pattern='\d+' where=whole", "about 12", "", 0),
        ("regex pattern=YES", "yes", "", 0),
        ("regex pattern=YES ignore_case=true", "oh yes", "", 1),
        ("""json_schema schema='{"required": ["a"]}'""", '{"a": 1}', "", 1),
        ("""json_schema schema='{"required": ["a"]}'""", '{"b": 1}', "", 0),
        ("""json_schema schema='{"required": ["a"]}'""", "Here:\n```json\n{\"a\": 1}\n```\nDone.", "", 1),
        ("""json_schema schema='{"type": "string", "pattern": "^a+$"}'""", '"aab"', "", 0),
        ("""json_schema schema='{"patternProperties": {"^n": {"type": "number"}}}'""", '{"n": "x"}', "", 0),
        ("""json_schema schema='{}'""", "[" * 100_000, "", 0),
        ("length minimum=2 maximum=3", "one two three", "", 1),
        ("length minimum=2 maximum=3", "one", "", 0),
        ("length maximum=4 unit=characters", "12345", "", 0),
    ],
)  # fmt: skip
def test_what_is_right(line, text, answer, right):
    assert verdict(line, text, answer) == right


@pytest.mark.parametrize(
    ("text", "number"),
    [("x = 5-3", 3), ("v1.2.3", None), ("2024-11-29", 29), ("about .5", 0.5), ("3/4", 0.75), ("$1,000!", 1000),
     ("6e3 or 7E-2", 0.07), ("1/0", None), ("", None)],
)  # fmt: skip
def test_the_last_number_of_a_text(text, number):
    assert last_number(text) == number


GERMAN = "Der Hund läuft schnell über die Straße und bellt laut."


@pytest.mark.parametrize(
    ("line", "text", "right"),
    [
        ("language language=de", GERMAN, 1),
        ("language language=de-AT", GERMAN, 1),
        ("language language=en", GERMAN, 0),
        ("language", GERMAN, 1),
        ("language", "The dog runs quickly across the street and barks loudly.", 0),
        ("language language=de", "42", 0),
    ],
)
def test_the_language_is_the_one_asked_for_or_the_prompts(line, text, right):
    assert verdict(line, text, asked="Was macht der Hund heute auf der Straße?") == right


def test_a_language_that_cannot_be_told_is_refused():
    with pytest.raises(RecipeFailure, match="cannot be detected"):
        verdict("language language=tlh", "Qapla'")


@pytest.mark.parametrize(
    "line", ["regex pattern='(a|aa)+$'", """json_schema schema='{"type": "string", "pattern": "^(a|aa)+$"}'"""]
)
def test_a_pattern_that_would_run_for_ever_is_cut_off(line):
    text = "a" * 60 + "!"
    started = time.perf_counter()
    assert verdict(line, f'"{text}"' if "json" in line else text) == 0
    assert time.perf_counter() - started < 5


FORKS = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {"type": "string"}}
ENDLESS = {"pattern": "^(a|aa)+$"}
NAMES = {"additionalProperties": False, "patternProperties": {ENDLESS["pattern"]: {}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$defs": FORKS, "$ref": "#/$defs/a0"}, 1),
        ({"allOf": [{"$schema": "http://json-schema.org/draft-07/schema#", **ENDLESS}]}, "a" * 60 + "!"),
        (NAMES, {"a" * 60 + "!": 1}),
    ],
    ids=["references", "draft", "names"],
)
def test_a_schema_that_would_be_checked_for_ever_is_cut_off(schema, value):
    part = reward_parts.JsonSchemaPart(schema=json.dumps(schema))
    started = time.perf_counter()
    assert not part.problems() and verifier_of(part)([], json.dumps(value), "") == 0
    assert time.perf_counter() - started < 10


def test_no_schema_is_fetched():
    with pytest.raises(RecipeFailure, match="does not hold"):
        verdict("""json_schema schema='{"$ref": "http://127.0.0.1:9/x.json"}'""", "{}")


def test_every_kind_of_part_has_its_row_in_the_guide_with_its_options():
    guide = (Path(__file__).parents[4] / "docs/guides/rewards.md").read_text(encoding="utf-8")
    rows = {kind: next((row for row in guide.splitlines() if row.startswith(f"| `{kind}` |")), "") for kind in KINDS}
    of_all = {field.name for field in dataclasses.fields(reward_parts.RewardPart)}
    own = {kind: {field.name for field in dataclasses.fields(part)} - of_all for kind, part in KINDS.items()}
    assert [kind for kind in KINDS if not rows[kind]] == []
    assert [(kind, name) for kind in KINDS for name in own[kind] if f"`{name}`" not in rows[kind]] == []


def test_every_kind_that_is_a_rule_has_a_verifier():
    needed = {"length": "length maximum=9", "regex": "regex pattern=a", "json_schema": "json_schema schema='{}'"}
    rules = [kind for kind in KINDS if kind not in ("reward_model", "judge")]
    assert [verdict(needed.get(kind, kind), "a", "a") in (0.0, 1.0) for kind in rules] == [True] * len(rules)
