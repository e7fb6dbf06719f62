"""The human review: people's opinion of a run while it trains, beside the reward model's.

The recipe hands over pairs, its policy's answer and the parent's to one prompt. They become completions of the project
and come first in the queue of whoever judges there, blind, like any two answers; the comparisons between them are
written back for the recipe, which pauses where they and the reward model part ways. All in the train split: what is
said here may train a reward model, and never ranks one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Q, QuerySet, When

from annotate.core.db.prepared import Asked, Prepared, Slot
from annotate.data.prompts.actions import NewCompletion, add_completions
from annotate.labelling.queue.urgent_items import UrgentPair
from annotate.models import AnnotatorKind, Comparison, Completion, Project, Prompt, Winner
from common import reasoning, splits
from training.core.run_directory import Row, RunDirectory
from training.models import Attempt, Review, Run
from training.runs.ordering import pauses
from training.runs.queue.ingest import storable
from training.runs.queue.supervision import holding
from training.runs.queue.worker_database import AWAY

WAITING = "waiting_for_people"
NOBODY = "nobody"  # the annotator of a pair that cannot be judged
log = logging.getLogger("assay.worker")


def follow(attempt: Attempt, directory: RunDirectory) -> None:
    """Store the pairs that the recipe has handed over, and write what annotators said of them to it. Raises
    LeaseLost."""
    rows = directory.reviews()
    if not rows:
        return
    with holding(attempt) as run:
        take_in(run, rows)
    tell(run, directory)


def take_in(run: Run, rows: Sequence[Row]) -> None:
    """Store each pair once: its answers become completions, the parent's under its name, the policy's under none."""
    last = run.reviews.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    for row in rows:
        if row["sequence"] > last:
            _ask(run, row)


def tell(run: Run, directory: RunDirectory) -> None:
    rows = opinions(run)
    if rows != directory.opinions():
        directory.tell_opinions(rows)


def opinions(run: Run) -> list[Row]:
    """Return for each pair and kind of annotator the share of votes for the policy's answer, a tie as half of one."""
    rows: list[Row] = []
    votes = _votes(run)
    for review in run.reviews.order_by("sequence"):
        common = {"sequence": review.sequence, "step": review.step, "predicted": review.predicted}
        if review.not_asked:
            rows.append({**common, "judge": NOBODY, "people": 0.5, "votes": 0})
        for judge, points in sorted(votes[review.pk].items()):
            share = sum(points) / len(points)
            rows.append({**common, "judge": judge, "people": share, "votes": len(points)})
    return rows


@dataclass(frozen=True)
class ReviewedPair:
    """One pair, and what each kind of annotator said of it: the share of votes for the policy's answer."""

    sequence: int
    step: int
    predicted: float
    not_asked: str
    people: float | None
    simulations: float | None


def reviewed_pairs(run: Run) -> list[ReviewedPair]:
    share_by_pair = {(row["sequence"], row["judge"]): row["people"] for row in opinions(run)}
    return [
        ReviewedPair(
            r.sequence, r.step, r.predicted, r.not_asked,
            share_by_pair.get((r.sequence, AnnotatorKind.PERSON)),
            share_by_pair.get((r.sequence, AnnotatorKind.SIMULATION)),
        )
        for r in run.reviews.order_by("sequence")
    ]  # fmt: skip


def wake_waiting() -> None:
    """Queue again the runs that waited for annotators and now have what they waited for."""
    for run in Run.objects.filter(state=Run.State.PAUSED, reason_code=WAITING):
        try:
            if is_judged(run):
                _wake(run)
        except AWAY:
            raise
        except Exception as error:  # a full disk, a folder that is gone, a broken file: no reason for a worker to stop
            log.warning("What was said of %s cannot be handed over; trying again: %s", run, error)


def _wake(run: Run) -> None:
    with transaction.atomic():
        locked_run = Run.objects.select_for_update().get(pk=run.pk)
        if locked_run.state == Run.State.PAUSED and locked_run.reason_code == WAITING:
            tell(locked_run, RunDirectory(locked_run.path))
            pauses.go_on(locked_run)


def is_judged(run: Run) -> bool:
    """Return whether each pair that can be judged has been, by those whom the run listens to."""
    judge = pauses.config_now(run).get("review_by", "person")
    sequences = {row["sequence"] for row in opinions(run) if row["judge"] in (judge, NOBODY)}
    return all(sequence in sequences for sequence in run.reviews.values_list("sequence", flat=True))


def pairs_first(project: Project) -> Asked:
    """Ask for the pairs of all runs; open are those of runs under way, the latest review first."""
    return _asked.asked(project=project.pk).then(_pairs)


def _pairs(rows: list[tuple]) -> list[UrgentPair]:
    return [
        UrgentPair(prompt, (policy, parent), is_open)
        for prompt, policy, parent, is_open in rows
        if prompt and policy and parent
    ]


def _review_rows() -> QuerySet:
    rows = Review.objects.filter(run__project=Slot("project"), not_asked="")
    under_way = Q(run__in=Run.objects.unfinished())
    rows = rows.annotate(is_open=Case(When(under_way, then=True), default=False)).order_by("-step", "sequence")
    return rows.values_list("prompt_id", "policy_answer_id", "parent_answer_id", "is_open")


_asked = Prepared(_review_rows)


def _votes(run: Run) -> dict[int, dict[str, list[float]]]:
    """Return {review: {judge: points for the policy}}, of what counts."""
    reviews = {r.policy_answer_id: r for r in run.reviews.filter(not_asked="")}
    pair = Q(completion_a__in=reviews) | Q(completion_b__in=reviews)
    rows = Comparison.objects.counted().filter(pair, project=run.project)
    points_by_review: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for a, b, winner, judge in rows.values_list("completion_a", "completion_b", "winner", "judge"):
        review = reviews.get(a) or reviews[b]
        if {a, b} != {review.policy_answer_id, review.parent_answer_id}:
            continue
        is_a = a == review.policy_answer_id
        points = {Winner.MODEL_A: float(is_a), Winner.MODEL_B: float(not is_a)}.get(Winner(winner), 0.5)
        points_by_review[review.pk][judge].append(points)
    return points_by_review


def _ask(run: Run, row: Row) -> None:
    prompt = _prompt(run.project, row)
    answers = {side: reasoning.split(storable(row[side]["text"])).answer for side in ("policy", "parent")}
    why_not = _why_not(run.project, prompt, answers)
    completions: dict[str, Completion | None] = {"policy": None, "parent": None}
    if not why_not:
        assert prompt is not None
        standing = run.reviews.filter(prompt=prompt, parent_answer__text=answers["parent"]).first()
        completions["parent"] = standing.parent_answer if standing else _completion(run, row, "parent", prompt)
        completions["policy"] = _completion(run, row, "policy", prompt)
    Review.objects.create(
        run=run,
        sequence=row["sequence"],
        step=row["step"],
        prompt=prompt,
        policy_answer=completions["policy"],
        parent_answer=completions["parent"],
        predicted=row["predicted"],
        policy_score=row["policy"]["score"],
        parent_score=row["parent"]["score"],
        not_asked=why_not,
    )


def _prompt(project: Project, row: Row) -> Prompt | None:
    """Return the project's own, by the number that the dataset gave it, else by its text."""
    prompts = Prompt.objects.filter(project=project)
    text_hash = splits.text_hash(row["prompt"])
    by_number = prompts.filter(pk=row["prompt_id"]).first() if isinstance(row["prompt_id"], int) else None
    return by_number if by_number and by_number.text_hash == text_hash else prompts.filter(text_hash=text_hash).first()


def _why_not(project: Project, prompt: Prompt | None, answers: dict[str, str]) -> str:
    """Return why the pair is not shown to annotators; empty when it is."""
    if not project.asks_comparisons:
        return "the project asks for no comparisons"
    if prompt is None:
        return "the prompt is not in the project"
    if prompt.side != splits.TRAIN:
        return "the prompt is in the eval split"
    if not all(text.strip() for text in answers.values()):
        return "an answer is empty"
    if answers["policy"].strip() == answers["parent"].strip():
        return "both answers are equal"
    if max(map(len, answers.values())) > settings.MAX_COMPLETION_CHARACTERS:
        return "an answer is too long to be stored"
    return ""


def _completion(run: Run, row: Row, side: str, prompt: Prompt) -> Completion:
    answer: dict[str, Any] = row[side]
    [completion] = add_completions(
        rows=[
            NewCompletion(
                prompt=prompt,
                model=run.parent if side == "parent" else None,
                text=storable(answer["text"]),
                sampling=row["sampling"],
                tokens=answer["tokens"],
                finish_reason=answer["finish_reason"],
                source=f"run {run.pk}, step {row['step'] if side == 'policy' else 0}",
            )
        ]
    )
    return completion
