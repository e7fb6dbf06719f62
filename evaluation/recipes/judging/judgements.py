"""Judgements of two models' answers to the same prompts, whoever judged: what a win rate is made of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from training.core.run_directory import Row, RunDirectory


@dataclass(frozen=True)
class Vote:
    """One judgement: `points` for the model, `longer_by` characters of its answer less the opponent's.

    `of_first` are the points of the answer that was shown first, where one was.
    """

    id: str
    prompt_id: int
    prompt: list[Row]
    category: str
    prompt_key: str  # the same for every model that is set against this opponent
    points: float
    longer_by: float
    voter: int
    shown: Row
    of_first: float | None = None


@dataclass(frozen=True)
class Judged:
    votes: list[Vote]
    signature: str
    notes: list[str]
    figures: dict[str, Row]


@dataclass(frozen=True)
class Answered:
    """A prompt with the answers of both."""

    id: int
    prompt: list[Row]
    category: str
    own_answers: list[str]
    opponent_answers: list[str]

    @property
    def prompt_key(self) -> str:
        return f"{self.prompt} {sorted(self.opponent_answers)}"


def answered(run: RunDirectory) -> list[Answered]:
    texts: dict[int, dict[str, list[str]]] = defaultdict(lambda: {"ours": [], "theirs": []})
    rows = run.rows("answers")
    for row in rows:
        texts[row["prompt_id"]][row["whose"]].append(row["text"])
    by_prompt = {row["prompt_id"]: row for row in rows}
    return [
        Answered(pk, by_prompt[pk]["prompt"], by_prompt[pk].get("category") or "", answers["ours"], answers["theirs"])
        for pk, answers in texts.items()
        if answers["ours"] and answers["theirs"]
    ]


def of_answers(run: RunDirectory, prompts: list[Answered]) -> tuple[str, list[str]]:
    """Return the settings, for the signature, and what a reader must know of the answers."""
    about, rows = next(iter(run.rows("about")), {}), run.rows("answers")
    setting = ", ".join(f"{name} {value}" for name, value in (about.get("settings") or {}).items())
    notes = [
        f"{sum(len(p.own_answers) for p in prompts)} of its answers against "
        f"{sum(len(p.opponent_answers) for p in prompts)} on {len(prompts)} prompts, sampled with "
        f"{setting or 'unknown settings'}."
    ]
    for side, name in (("ours", "Its"), ("theirs", "The opponent's")):
        side_rows = [row for row in rows if row["whose"] == side]
        if cut := sum(bool(row.get("cut_off")) for row in side_rows):
            notes.append(f"{name} answers were cut off at the token limit in {cut} of {len(side_rows)} cases.")
    return setting or "unknown settings", notes


# For people, who read them beside both answers.
SAID = {"ours": "its answer", "theirs": "the opponent’s", "tie": "a tie", "both_bad": "both bad"}


def shown(prompt: list[Row], answer: str, other: str, **fields: Any) -> Row:
    return {"prompt": prompt, "answer": answer, "other": other, **fields}
