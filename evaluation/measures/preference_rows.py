"""Collect the rows of a reward model's accuracy: annotations and answers of the eval split.

reward_accuracy   completions.jsonl {"id", "prompt_id", "prompt", "text"}; comparisons.jsonl {"id", "prompt_id",
                  "completion_a", "completion_b", "winner", "source", "voter"}; ratings.jsonl {"id", "completion",
                  "prompt_id", "thumbs", "stars", "source", "voter"}; about.jsonl, one line: {"judge", "other_judge",
                  "prompts"}
win_rate          votes.jsonl {"id", "prompt_id", "prompt", "category", "answer", "other", "winner", "ours_first",
                  "voter"} where people or simulations judge, else answers.jsonl {"prompt_id", "prompt", "category",
                  "whose", "text", "cut_off"}; about.jsonl, one line: {"model", "opponent", "judge", "settings",
                  "taught", "left_out"}
fluency           answers.jsonl and about.jsonl as for a win rate; the opponent is the model's parent

A limit holds what a model must read; votes cost nothing and are all taken. Voters are numbered anew in each run: its
files name nobody. People and simulations never stand in one figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from annotate.models import AnnotatorKind, Comparison, Completion, Rating, Split
from evaluation.core.voter_names import voter_name
from training.core.run_directory import RecipeFailure, Row
from training.models import Run

Rows = dict[str, list[Row]]
JUDGES = {"people": AnnotatorKind.PERSON, "simulation": AnnotatorKind.SIMULATION}


@dataclass
class Voters:
    """Say who judged, as numbers from 1; a row that names nobody is somebody of their own."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, row: Row) -> int:
        return self.numbers.setdefault(voter_name(row["author"], row["visitor"], row["id"]), len(self.numbers) + 1)


# A reward model against judges


def reward_rows(run: Run) -> Rows:
    """Raises RecipeFailure where nobody of that sort has judged anything in the eval split."""
    judge = _judge(run)
    pairs, ratings = _judgements(run, judge)
    chosen = by_hash((row["prompt__text_hash"], row["prompt_id"]) for row in [*pairs, *ratings])
    kept_prompts = set(chosen[: run.config["limit"]])
    pairs, ratings = ([row for row in rows if row["prompt_id"] in kept_prompts] for rows in (pairs, ratings))
    if not pairs and not ratings:
        raise RecipeFailure(
            "no_judgements",
            f"There are no counted annotations by {describe_judge(judge)} in the eval split of {run.project.name}.",
            "Annotate answers to eval prompts first (in the arena), choose the other kind of annotators "
            "(judged_by), or choose a dataset of preferences.",
        )
    voters = Voters()
    return {
        "completions": _completions({r[end] for r in pairs for end in ("completion_a", "completion_b")}
                                    | {r["completion"] for r in ratings}),
        "comparisons": [_voter_row(row, voters, "completion_a", "completion_b", "winner") for row in pairs],
        "ratings": [_voter_row(row, voters, "completion", "thumbs", "stars") for row in ratings],
        "about": [{"judge": judge, "other_judge": _of_the_others(run, judge), "prompts": len(chosen)}],
    }  # fmt: skip


def _judge(run: Run) -> str:
    judged_by = run.config["judged_by"]
    if judged_by not in JUDGES:
        raise RecipeFailure(
            "judged_by",
            f"A reward model is compared with annotators, not with judged_by={judged_by}.",
            "Choose judged_by=people or judged_by=simulation.",
            {"judged_by": "people"},
        )
    return JUDGES[judged_by]


def _judgements(run: Run, judge: str) -> tuple[list[Row], list[Row]]:
    """Return comparisons, and ratings with a thumb or stars, in the order they came."""
    common = ("id", "prompt_id", "prompt__text_hash", "source", "author", "visitor")
    # Not `ranking`: a reward model is measured on every pair, also on answers that no model of ours wrote.
    pairs, ratings = (
        table.objects.counted().by(judge).on_split(Split.EVAL).filter(project=run.project).order_by("id")
        for table in (Comparison, Rating)
    )
    spoken = ratings.exclude(thumbs=None, stars=None)
    return (
        list(pairs.values(*common, "completion_a", "completion_b", "winner")),
        list(spoken.values(*common, "completion", "thumbs", "stars")),
    )


def _voter_row(row: Row, voters: Voters, *names: str) -> Row:
    fields = {name: row[name] for name in ("id", "prompt_id", "source", *names)}
    return {**fields, "voter": voters.number(row)}


def _of_the_others(run: Run, judge: str) -> int:
    other = AnnotatorKind.SIMULATION if judge == AnnotatorKind.PERSON else AnnotatorKind.PERSON
    return Comparison.objects.counted().by(other).on_split(Split.EVAL).filter(project=run.project).count()


def _completions(ids: set[int]) -> list[Row]:
    completions = Completion.objects.filter(pk__in=ids).select_related("prompt").order_by("pk")
    return [{"id": c.pk, "prompt_id": c.prompt_id, "prompt": c.prompt.messages, "text": c.text} for c in completions]


def by_hash(prompts: Iterable[tuple[str, int]]) -> list[int]:
    """Return ids of prompts in an order that favours none, and that does not change as others are added."""
    keyed = {pk: hashlib.sha256(text_hash.encode()).hexdigest() for text_hash, pk in prompts}
    return sorted(keyed, key=lambda pk: keyed[pk])


def describe_judge(judge: str) -> str:
    return "people" if judge == AnnotatorKind.PERSON else "simulations"
