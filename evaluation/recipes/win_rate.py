"""Measure how often a model's answers are preferred to an opponent's: by people, simulations, reward model or judge.

In: `data/votes.jsonl` (people or simulations: nothing is run) or `data/answers.jsonl`, and `data/about.jsonl`, as
`evaluation.measures.preference_rows` writes them.

people, simulation   each counted vote between the two: 1, 0, or a half for a tie, both bad included
reward               each prompt that both answered with the same sampling settings: the share of pairs (one answer of
                     each) in which the model's answer scores higher, equal scores as half
endpoint             each such pair, first with first, second with second: asked in both orders; a win when both
                     verdicts say so, a half when they differ

Beside the raw figure stands the length-controlled one (`evaluation.metrics.length_control`). Intervals go by voters and
by prompts, never by votes that hang together.

Left out: judges that score an answer alone; weights for voters by their reliability, which the leaderboard shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.metrics.length_control import length_controlled
from evaluation.metrics.win_rates import WinRate, win_rate
from evaluation.recipes.common import result_figures
from evaluation.recipes.common.outcome import Item, Measured
from evaluation.recipes.judging.judgements import SAID, Judged, Vote, shown
from evaluation.recipes.judging.win_by_endpoint import by_endpoint
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

FEWEST = 2
LENGTH_CONTROLLED = "length-controlled win rate"
POINTS = {"ours": 1.0, "theirs": 0.0, "tie": 0.5, "both_bad": 0.5}
WHO = {
    "people": "people",
    "simulation": "simulated annotators",
    "reward": "a reward model",
    "endpoint": "a judge model",
}


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    about = next(iter(run.rows("about")), {})
    if config.judged_by in ("people", "simulation"):
        judgements = by_votes(run)
    elif config.judged_by == "reward":
        from evaluation.recipes.judging.win_by_reward import by_reward  # imports torch, which the others do without

        judgements = by_reward(run, spec, config)
    else:
        judgements = by_endpoint(run, config)
    if len(judgements.votes) < FEWEST:
        raise RecipeFailure(
            "too_few",
            f"There {'is 1 vote' if len(judgements.votes) == 1 else 'are no votes'} on the two models' answers; a win "
            f"rate needs at least {FEWEST}, better some tens.",
            "Sample answers of both to more eval prompts with the same settings (a sample run), and annotate them.",
        )
    return measured_of(judgements, about, config.judged_by)


def measured_of(judgements: Judged, about: Row, judged_by: str) -> Measured:
    by_id = {vote.id: vote for vote in judgements.votes}
    items = [
        Item(
            vote.id,
            vote.prompt_key,
            {"win rate": [vote.points, 1.0]},
            vote.shown,
            vote.category,
            (vote.prompt[-1]["content"],),
        )
        for vote in judgements.votes
    ]

    def fitted(chosen: list[Item]) -> dict[str, Row | None]:
        return rates([by_id[item.id] for item in chosen])

    return Measured(
        f"win rate against {about.get('opponent', 'an opponent')}, by {WHO[judged_by]}",
        items,
        f"assay win rate 1; against {about.get('opponent', 'unknown')}; {judgements.signature}; ties half; intervals "
        "by voters and prompts; length in characters",
        figures=judgements.figures,
        notes=[*judgements.notes, *_notes(judgements.votes, about)],
        fitted=fitted,
    )


def rates(votes: list[Vote]) -> dict[str, Row | None]:
    """Return the win rate, the length-controlled one, and what the answer shown first got; None where the votes allow
    none."""
    rows: dict[str, Row | None] = {"win rate": _row(_rate(votes), True)}
    try:
        controlled = length_controlled(*_columns(votes))
        rows[LENGTH_CONTROLLED] = result_figures.figure(
            controlled.value, controlled.standard_error, controlled.lower, controlled.upper, controlled.n, True
        )
    except ValueError:
        rows[LENGTH_CONTROLLED] = None
    one_first = [vote for vote in votes if vote.of_first is not None and vote.of_first != 0.5]
    first = [vote.of_first for vote in one_first if vote.of_first is not None]
    if first:
        rate = win_rate(first, [v.voter for v in one_first], [v.prompt_id for v in one_first])
        rows["preferred when shown first"] = _row(rate, None)
    return rows


def _rate(votes: list[Vote]) -> WinRate:
    return win_rate([v.points for v in votes], [v.voter for v in votes], [v.prompt_id for v in votes])


def _columns(votes: list[Vote]) -> tuple[list[float], list[float], list[int], list[int]]:
    return (
        [v.points for v in votes],
        [v.longer_by for v in votes],
        [v.voter for v in votes],
        [v.prompt_id for v in votes],
    )


def _row(rate: WinRate, higher: bool | None) -> Row:
    return result_figures.figure(rate.value, rate.standard_error, rate.lower, rate.upper, rate.n, higher)


def _notes(votes: list[Vote], about: Row) -> list[str]:
    rate = _rate(votes)
    notes = [f"{rate.wins} won, {rate.ties} tied, {rate.losses} lost, on {rate.prompts} prompts."]
    if rate.ties == rate.n:
        notes.append("All votes are ties.")
    try:
        controlled = length_controlled(*_columns(votes))
        notes.append(
            f"Its answers are {'longer' if np.mean([v.longer_by for v in votes]) >= 0 else 'shorter'} by "
            f"{abs(np.mean([v.longer_by for v in votes])):.0f} characters on average; an answer longer by "
            f"{controlled.scale:.0f} gains {controlled.length * np.tanh(1):+.2f} log-odds."
        )
    except ValueError as reason:
        notes.append(f"No length-controlled win rate: {reason}")
    for left_out_reason, n in (about.get("left_out") or {}).items():
        notes.append(f"Left out: {n} {left_out_reason}.")
    return notes


# Who judges


def by_votes(run: RunDirectory) -> Judged:
    votes = []
    for row in run.rows("votes"):
        if row["winner"] not in POINTS:
            raise RecipeFailure(
                "bad_vote",
                f"Vote {row['id']}: winner {row['winner']!r} is not one of {', '.join(POINTS)}.",
                "Queue the run again: its rows were written by another version.",
            )
        points = POINTS[row["winner"]]
        votes.append(
            Vote(
                id=str(row["id"]),
                prompt_id=row["prompt_id"],
                prompt=row["prompt"],
                category=row.get("category") or "",
                prompt_key=f"{row['prompt']} {row['answer']} {row['other']}",
                points=points,
                longer_by=len(row["answer"]) - len(row["other"]),
                voter=row["voter"],
                shown=shown(
                    row["prompt"], row["answer"], row["other"], verdict=SAID[row["winner"]], voter=row["voter"]
                ),
                of_first=points if row["ours_first"] else 1 - points,
            )
        )
    voters = len({vote.voter for vote in votes})
    notes = [f"{len(votes)} votes of {voters} voter{'' if voters == 1 else 's'}."]
    if voters == 1:
        notes.append("There is only one voter: the interval does not show what others prefer.")
    return Judged(votes, "counted votes of the eval split", notes, {})
