"""Foretell how many answers the judges of a reward grade in runs that are not queued yet, and what that costs at most.

Beside these are samples that people look at, some hundred at most; an answer that comes twice is graded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from annotate.core.chat_api.prices import cost_of
from annotate.models import LanguageModel, Project
from common.judging import rubrics
from training.configs.rewards.part_lines import read_parts
from training.configs.rewards.reward_parts import JudgePart, judges_of

CHARACTERS = 3  # of a token, at least: more are fewer tokens
_LONGEST = ("max_new_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class JudgeQuestions:
    """Answers that a judge grades, and the dollars at most: None where it has no prices here."""

    judge: str
    answers: int
    dollars: float | None


def answers_graded(kind: str, config: Any, prompts: int) -> int:
    """Return how many answers a run of this kind has graded; `config` is a parsed one."""
    match kind:
        case "ppo":
            return int(config.steps * config.batch_size + config.calibration_episodes)
        case "grpo" | "rloo":
            return int(config.steps * config.batch_size)
        case "best_of":
            return int(prompts * config.drawn_per_prompt)
        case "rejection":
            return int(min(prompts, config.max_prompts or prompts) * config.drawn_per_prompt)
    return 0


def questions(
    project: Project, kind: str, config: Any, prompts: int, *, runs: int, prompt_characters: float
) -> list[JudgeQuestions]:
    """Return what each judge of a reward is asked in so many runs."""
    parts = judges_of(read_parts(getattr(config, "rewards", "") or "")).values()
    answers = runs * answers_graded(kind, config, prompts)
    longest = next((int(getattr(config, name)) for name in _LONGEST if hasattr(config, name)), 0)
    found = []
    for part in parts:
        read = (len(rubrics.system_text(rubrics.SCALE, part.rubric)) + prompt_characters) / CHARACTERS + longest
        found.append(JudgeQuestions(part.judge.strip(), answers, _dollars(project, part, answers, read, runs)))
    return found


def _dollars(project: Project, part: JudgePart, answers: int, read: float, runs: int) -> float | None:
    """Return the cost of replies as long as they may be, or the part's own limit where that is less."""
    model = LanguageModel.objects.usable_in(project).filter(name=part.judge.strip()).first()
    prices = (model.prompt_price, model.completion_price) if model is not None else (None, None)
    cost = cost_of(*prices, round(answers * read), answers * part.max_tokens)
    return None if cost is None else min(float(cost), runs * part.max_cost if part.max_cost else float(cost))


def by_judge(found: Iterable[JudgeQuestions]) -> list[JudgeQuestions]:
    """Return one of each judge, all its questions together."""
    sums: dict[str, JudgeQuestions] = {}
    for one in found:
        before = sums.get(one.judge, JudgeQuestions(one.judge, 0, 0.0))
        dollars = None if before.dollars is None or one.dollars is None else before.dollars + one.dollars
        sums[one.judge] = JudgeQuestions(one.judge, before.answers + one.answers, dollars)
    return [one for one in sums.values() if one.answers]


def in_words(one: JudgeQuestions) -> str:
    """Say what a judge is asked."""
    cost = "it has no prices here, so the cost is unknown"
    if one.dollars is not None:
        cost = f"at most about ${one.dollars:,.2f} by its prices"
    return f"The judge {one.judge} grades about {one.answers:,} answer{'s' if one.answers != 1 else ''}: {cost}."
