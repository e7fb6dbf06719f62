"""A project in which several people judged the same items, made directly."""

from __future__ import annotations

import random
from collections.abc import Sequence

from annotate.models import Assignment, Completion, Project, User
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_prompt,
    make_rating,
    make_user,
)

SUBMITTED = Assignment.State.SUBMITTED


def make_items(project: Project, n: int) -> list[tuple[Completion, Completion]]:
    """Pairs of answers; the second of each is the longer and the better one."""
    found = []
    for _ in range(n):
        prompt = make_prompt(project)
        found.append((make_completion(prompt, "No."), make_completion(prompt, "No, because it is far too far away.")))
    return found


def make_judges(project: Project, *names: str, **fields: object) -> list[User]:
    return [make_user(project, username=name, **fields) for name in names]


def compare(
    judge: User,
    pair: Sequence[Completion],
    says: str,
    *,
    swapped: bool = False,
    purpose: str = "work",
    **fields: object,
) -> Assignment:
    """`says` worse, better, tie or both_bad; sides as given, or swapped."""
    worse, better = pair
    shown = (better, worse) if swapped else (worse, better)
    first = {"worse": worse, "better": better}.get(says)
    winner = says if first is None else "model_a" if first == shown[0] else "model_b"
    seconds = fields.pop("seconds", 8.0)
    assignment = make_assignment(judge, *shown, state=SUBMITTED, purpose=purpose, **fields)
    make_comparison(*shown, winner, judge, assignment=assignment, seconds=seconds)
    return assignment


def rate(judge: User, completion: Completion, stars: int, **fields: object) -> Assignment:
    assignment = make_assignment(judge, completion, state=SUBMITTED)
    make_rating(completion, judge, assignment=assignment, stars=stars, seconds=5.0, **fields)
    return assignment


def annotate_all(project: Project, judges: Sequence[User], items: Sequence[tuple[Completion, Completion]]) -> None:
    """Every annotator is right about four of five items, and takes neither side."""
    draw = random.Random(7)
    for judge in judges:
        for pair in items:
            compare(judge, pair, "better" if draw.random() < 0.8 else "worse", swapped=draw.random() < 0.5)
