"""Fifty annotators of known habits on one project, through the same actions as everybody: what they are handed, and
whom the quality page finds."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.models import Assignment, Comparison, Project
from annotate.simulation.crowd import BIASED, BOT, HONEST, LAZY, Member, crowd
from evaluation.annotator_quality import exclusion
from evaluation.annotator_quality.findings import Findings, computed
from evaluation.annotator_quality.loading import rows_of
from tests.support.factories import make_completion, make_project, make_prompt, make_user

GOOD, POOR = (
    "Yes, and you can find it for yourself in your own town.",
    "It is what it is and that is all there is to it.",
)


@pytest.fixture(autouse=True)
def draws_of_one_seed(monkeypatch):
    """Draw sides, queues and gold items from one seed: whom the page finds among fifty is a matter of chance, too."""
    draw = random.Random(1)
    random.seed(1)
    monkeypatch.setattr(random.SystemRandom, "random", lambda _: draw.random())
    monkeypatch.setattr(random.SystemRandom, "getrandbits", lambda _, bits: draw.getrandbits(bits))


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
        assignment_lifecycle.skip(assignment=assignment, by=user, reason=said.skip_reason)
    else:
        feedback.submit(assignment=assignment, by=user, **said.fields)


def check_overlap(project: Project, kind: str) -> None:
    """Each item was judged by exactly as many as asked for, and nobody was served one twice."""
    done = project.assignments.filter(kind=kind, purpose="work", state=Assignment.State.SUBMITTED)
    each = Counter(done.values_list("item", flat=True))
    prompts = project.prompts.count()
    assert set(each.values()) == {project.overlap} and len(each) == prompts * (2 if kind == "rate" else 1)
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
    found = computed(rows_of(project, "simulation"))
    assert named(found)[BOT] == [True, True] and not any(named(found)[HONEST])
    assert found.scales[0].alpha.units == 60


@pytest.mark.django_db
def test_the_places_of_an_excluded_bot_are_filled_by_others():
    project = filled(12, overlap=2)
    judges = people(project, crowd(taste, 6, lazy=0, biased=0))
    manager = make_user(project, role="manager")
    work(project, judges, "compare")
    bot = judges[0][1]
    assert bot.comparisons.filter(status="counted").exists()
    act = exclusion.exclude(project=project, person=bot, reason="a bot", by=manager)
    with pytest.raises(Refused, match="paused"):
        assignments.next_for(project=project, user=bot, kind="compare")
    work(project, judges[1:], "compare")
    check_overlap(project, "compare")
    counted = Counter(Comparison.objects.counted().values_list("author", flat=True))
    assert bot.pk not in counted and sum(counted.values()) == 24
    assert act.touched["changing"]["comparison"] == bot.comparisons.count()


@pytest.mark.slow
@pytest.mark.thorough  # the small crowd above shows the same mechanism
@pytest.mark.django_db
def test_fifty_annotators_and_whom_the_page_finds():
    project = filled(700, overlap=3)
    judges = people(project, crowd(taste, 50))
    work(project, judges, "compare")
    check_overlap(project, "compare")
    found = computed(rows_of(project, "simulation"))
    kinds = named(found)
    assert kinds[BOT] == [True, True]
    assert kinds[LAZY] == [True, True, True]
    assert kinds[BIASED] == [True, True, True]
    assert sum(kinds[HONEST]) <= 1, "at most a tenth of the nine who are named"


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.django_db
def test_known_severity_is_found():
    project = filled(170, overlap=4)
    members = crowd(taste, 30, lazy=0, biased=0)
    work(project, people(project, members), "rate")
    check_overlap(project, "rate")
    found = {one.name: one.measures for one in computed(rows_of(project, "simulation")).judges}
    known = [(m.habits.severity, found[f"{HONEST}-{n}"]["severity"]) for n, m in enumerate(members) if m.kind == HONEST]
    assert len(known) == 28
    pairs = [(severity, -seen.value) for severity, seen in known]
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.8  # stars end at 1 and 5
