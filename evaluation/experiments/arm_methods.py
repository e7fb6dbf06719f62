"""The methods that an arm may have: which runs make its model, what they need, and how a budget becomes options. Pure.

A budget of episodes is the answers that training sees: those that a policy draws, and those of a dataset as often as
they are read (a pair is two). A budget of tokens is so many episodes of the longest answer. Best-of-N sees none in
training: the same answers are drawn when it answers the eval prompts, so many for each that is shown.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from training import configs

BASE = "base"
EPISODES, TOKENS, SECONDS = UNITS = ("episodes", "tokens", "seconds")
MOST_ARMS, MOST_MODELS = 16, 64
FEWEST_CANDIDATES, MOST_CANDIDATES = 2, 256  # of best-of-N
FEWEST_SEEDS = 2  # of which a spread can be told
CHECKPOINT_NAME = re.compile(
    r", (step \d+|checkpoint \d+ of \d+)$"
)  # ends the name of an arm that is a checkpoint of another
LONGEST_WITH_STEP = 39  # characters of a name to which a step, or a place (“, checkpoint 10 of 12”), is added
Options = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """How a model comes about. `kind` is the run that makes it, "" for the parent itself; `options` are what all arms
    of this method begin with."""

    name: str
    title: str
    kind: str
    takes: str = ""  # examples, preferences or prompts: which dataset that run learns from
    needs_reward: bool = False
    draws_examples: bool = False  # a run of rejection sampling before it makes the examples
    answers_per_row: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def trains_by_reward(self) -> bool:
        """Return whether the run that makes the model takes the reward model; where examples are drawn, that does."""
        return self.needs_reward and not self.draws_examples


METHODS = {
    method.name: method
    for method in (
        Method(BASE, "Base", ""),
        Method("best_of", "Best-of-N", "best_of", "questions", needs_reward=True),
        Method("sft", "SFT on the best-rated answers", "sft", "examples"),
        Method("rejection", "Rejection sampling", "sft", "examples", needs_reward=True, draws_examples=True),
        Method("dpo", "DPO", "dpo", "preferences", answers_per_row=2),
        Method("kto", "KTO", "kto", "preferences"),
        Method("grpo", "GRPO", "grpo", "prompts", needs_reward=True),
        Method("rloo", "RLOO", "rloo", "prompts", needs_reward=True),
        # Nobody watches an arm: at a bound it keeps the last model within it.
        Method("ppo", "PPO", "ppo", "prompts", needs_reward=True, options={"at_bound": "finish", "review_every": 0}),
    )
}
ORDERED = tuple(name for name in METHODS if name != BASE)


@dataclass(frozen=True)
class Arm:
    """An arm as it is ordered: `config` are the options of the run that makes its model, `drawing` those of the
    rejection sampling before it. With `takes_checkpoints` the kept checkpoints of that run are rated, too."""

    name: str
    method: str
    config: Options
    drawing: Options = dataclasses.field(default_factory=dict)
    takes_checkpoints: bool = False

    @property
    def checkpoints(self) -> int:
        """Return how many checkpoints each of its models may bring along."""
        return int(self.config["kept_checkpoints"]) if self.takes_checkpoints else 0


@dataclass(frozen=True)
class Budget:
    unit: str = ""  # "" leaves every arm its own options
    amount: float = 0.0

    @property
    def counts_answers(self) -> bool:
        """Return whether it says how many answers each model may see, so that the N of best-of-N follows from it."""
        return self.unit in (EPISODES, TOKENS)


NO_BUDGET = Budget()


def expanded(arm: Mapping[str, Any], budget: Budget = NO_BUDGET) -> list[tuple[str, Options]]:
    """Return (name, config) of an arm, or of each point of its sweep: {option: values}."""
    config, sweep = dict(arm.get("config") or {}), arm.get("sweep") or {}
    name = str(arm.get("name") or "").strip() or METHODS[arm["method"]].title.split(" on ")[0]
    if arm["method"] == "best_of" and not arm.get("name"):
        is_open = "candidates" in sweep or (budget.counts_answers and "candidates" not in config)
        name = f"Best-of-{'N' if is_open else config.get('candidates', configs.BestOfConfig.candidates)}"
    points = [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())] if sweep else [{}]
    return [
        (" ".join([name, *(f"{option}={value}" for option, value in point.items())]), config | point)
        for point in points
    ]


def options_in_text(text: str) -> tuple[Options, dict[str, list[Any]]]:
    """Return (config, sweep) of options as a person writes them: `epochs=2; beta=0.05, 0.1`. An option with several
    values is a sweep. Raises ValueError with what to write."""
    config: Options = {}
    sweep: dict[str, list[Any]] = {}
    for part in filter(None, map(str.strip, re.split(r"[;\n]", text))):
        name, is_set, written = part.partition("=")
        values = [_value(one) for one in map(str.strip, written.split(",")) if one]
        if not is_set or not name.strip().isidentifier() or not values:
            raise ValueError("Write options as epochs=2; beta=0.05, 0.1. Several values make an arm each.")
        if len(values) == 1:
            config[name.strip()] = values[0]
        else:
            sweep[name.strip()] = values
    return config, sweep


def _value(text: str) -> Any:
    """Return a number or truth value where the text is one in JSON, and the text itself otherwise."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def options_of(kind: str, config: Options) -> tuple[Options, Options]:
    """Return the options of that kind among these, and the others."""
    known = {field.name for field in dataclasses.fields(configs.CONFIGS[kind])} | {"preset"}
    return {n: v for n, v in config.items() if n in known}, {n: v for n, v in config.items() if n not in known}


def within_budget(kind: str, config: Options, episodes: float, answers: int) -> Options:
    """Return the options with which a run of this kind sees about so many answers; `answers` are those of its dataset,
    each counted once, or those that best-of-N is to show."""
    parsed = configs.parse(kind, config)
    if kind in ("ppo", "grpo", "rloo"):
        return {"steps": max(1, round(episodes / parsed.batch_size))}
    if kind == "rejection":
        return {"max_prompts": max(1, round(episodes / parsed.drawn_per_prompt))}
    if kind in ("sft", "dpo", "kto"):
        return {"epochs": float(f"{min(max(episodes / max(answers, 1), 0.01), 100):.3g}")}
    if kind == "best_of" and answers:
        return {"candidates": min(max(round(episodes / answers), FEWEST_CANDIDATES), MOST_CANDIDATES)}
    return {}


def episodes_of(budget: Budget, tokens_each: int) -> float:
    """Return a budget of episodes or tokens as episodes of answers of at most so many tokens."""
    return budget.amount if budget.unit == EPISODES else budget.amount / max(tokens_each, 1)


def answer_tokens(kind: str, config: Options) -> int:
    """Return the longest answer of a run, in tokens."""
    parsed = configs.parse(kind, config)
    for option in ("max_new_tokens", "max_completion_tokens", "max_length"):
        if hasattr(parsed, option):
            return int(getattr(parsed, option))
    return 1
