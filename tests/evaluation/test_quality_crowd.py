"""Fifty annotators of known habits on one project, through the same actions as everybody: what they are handed, and
whom the quality page finds."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from annotate.actions import assignments, feedback
from annotate.models import Assignment, Project
from annotate.simulation.crowd import BIASED, BOT, HONEST, LAZY, Member, crowd
from evaluation.quality.findings import Findings, findings
from tests.factories import make_completion, make_project, make_prompt, make_user

GOOD, POOR = (
    "Yes, and you can find it for yourself in your own town.",
    "It is what it is and that is all there is to it.",
)


def taste(prompt: str, completion: str) -> float:
    return 0.9 if "you" in completion else 0.2


def filled(prompts: int, **settings: object) -> Project:
    project = make_project(must_read_guidelines=False, **settings)
    draw = random.Random(1)
    for _ in range(prompts):
        prompt = make_prompt(project)
        answers = [GOOD, POOR]
        draw.shuffle(answers)
        for answer in answers:
            make_completion(prompt, f"{answer} {'Really. ' * draw.randrange(4)}".strip())
    return project


def people(project: Project, members: list[Member]) -> list[tuple[Member, object]]:
    return [
        (member, make_user(project, username=f"{member.kind}-{number}", is_simulated=True))
        for number, member in enumerate(members)
    ]


def work(project: Project, judges: list[tuple[Member, object]], kind: str) -> None:
    """In turns, each holding one item while all others take theirs, until nothing is left for anybody."""
    left = list(judges)
    while left:
        held = []
        for member, user in list(left):
            assignment = assignments.next_for(project=project, user=user, kind=kind)
            if assignment is None:
                left.remove((member, user))
            else:
                held.append((member, user, assignment))
        live = Counter((a.item, a.purpose == "work") for _, _, a in held)
        assert all(n <= project.overlap for (_, is_work), n in live.items() if is_work)
        for member, user, assignment in held:
            judge(member, user, assignment)


def judge(member: Member, user, assignment: Assignment) -> None:
    texts = [completion.text for completion in assignment.completions]
    said = member.annotator.compare("", *texts) if len(texts) == 2 else member.annotator.rate("", *texts)
    if said.skip_reason:
        assignments.skip(assignment=assignment, by=user, reason=said.skip_reason)
    else:
        feedback.submit(assignment=assignment, by=user, **said.fields)


def check_overlap(project: Project, kind: str) -> None:
    done = project.assignments.filter(kind=kind, purpose="work", state=Assignment.State.SUBMITTED)
    each = Counter(done.values_list("item", flat=True))
    assert set(each.values()) == {project.overlap} and len(each) == project.prompts.count()
    served = Counter(project.assignments.exclude(purpose="repeat").values_list("user", "item"))
    assert set(served.values()) == {1}, "nobody is served an item twice"


def named(found: Findings) -> dict[str, list[bool]]:
    kinds: dict[str, list[bool]] = {HONEST: [], LAZY: [], BIASED: [], BOT: []}
    for one in found.judges:
        kinds[one.name.split("-")[0]].append(one.is_flagged)
    return kinds


@pytest.mark.django_db
def test_a_small_crowd_meets_the_overlap_and_its_bots_are_found():
    project = filled(60, overlap=3)
    judges = people(project, crowd(taste, 12, lazy=0, biased=1))
    work(project, judges, "compare")
    check_overlap(project, "compare")
    found = findings(project, "simulation")
    assert named(found)[BOT] == [True, True] and not any(named(found)[HONEST])
    assert found.scales[0].alpha.units == 60


@pytest.mark.slow
@pytest.mark.django_db
def test_fifty_annotators_and_whom_the_page_finds():
    project = filled(1500, overlap=3)
    judges = people(project, crowd(taste, 50))
    work(project, judges, "compare")
    check_overlap(project, "compare")
    found = findings(project, "simulation")
    kinds = named(found)
    assert kinds[BOT] == [True, True]
    assert kinds[LAZY] == [True, True, True]
    assert kinds[BIASED] == [True, True, True]
    assert sum(kinds[HONEST]) <= 1, "at most a tenth of the nine who are named"
