"""On Postgres nobody waits crosswise for an item that is being sent: `annotate.models.project_locks` has the order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from annotate.core.errors import Refused
from annotate.data.prompts import retirement
from annotate.data.prompts.editing import edit_prompt
from annotate.labelling import assigning, assignment_lifecycle, handing_ahead
from annotate.labelling.adjudication import actions as adjudication
from annotate.labelling.gold import scoring as gold
from annotate.labelling.queue import quarantine
from annotate.models import Assignment, Comparison, GoldItem, Project, Prompt, User
from annotate.projects import actions as projects
from evaluation.annotator_quality import exclusion
from evaluation.installation.erasure import erasing
from evaluation.vote_integrity import held_votes
from tests.support.api_client import program
from tests.support.elsewhere import LONG, Elsewhere, somebody_waits
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_pair,
    make_project,
    make_prompt,
    make_rating,
    make_user,
)
from tests.support.processes import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer"),
]
Act = Callable[[Project, Assignment], Any]


class Pause:
    """Stop the first thread that comes here until another has done something, or waits for it."""

    def __init__(self) -> None:
        self.reached, self.ends = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.ends.wait(LONG)


def meet(first: Callable[[], Any], second: Callable[[], Any], pause: Pause) -> tuple[Any, Any]:
    """Do the first up to the pause, then the second as far as it comes, then the rest of both; return what they did."""
    one = Elsewhere(first)
    assert pause.reached.wait(LONG)
    other = Elsewhere(second)
    try:
        until(lambda: not other.is_alive() or somebody_waits(), LONG, "it is done, or waits")
    finally:
        pause.ends.set()
    return one.done(), other.done()


@pytest.fixture
def project() -> Project:
    return make_project(asks_ratings=False, overlap=2)


@pytest.fixture
def manager(project: Project) -> User:
    return make_user(project, role="manager")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Pause:
    """Pause whoever sends an item when it is stored, before they ask for the project alone to draw the next one."""
    pause, give_back = Pause(), assigning.give_back

    def give_back_and_pause() -> None:
        give_back()
        pause()

    monkeypatch.setattr(assigning, "give_back", give_back_and_pause)
    return pause


def send(item: Assignment, annotator: Any) -> Callable[[], Any]:
    return lambda: annotator.post(f"assignments/{item.pk}/submit/?next=1", {"winner": "tie"}, key="once")


def _manager(project: Project) -> User:
    return project.memberships.get(role="manager").user


def remove(project: Project, item: Assignment) -> None:
    projects.remove_member(project=project, user=item.user, by=_manager(project))


def exclude(project: Project, item: Assignment) -> None:
    exclusion.exclude(project=project, person=item.user, reason="by lot", by=_manager(project))


def erase(project: Project, item: Assignment) -> None:
    erasing.erase(erasing.plan(item.user), votes=erasing.EXCLUDE, reason="asked")


def retire(project: Project, item: Assignment) -> None:
    retirement.decide(prompt=item.prompt, by=_manager(project), take_out=True, reason="broken")


def edit(project: Project, item: Assignment) -> None:
    edit_prompt(prompt=item.prompt, by=_manager(project), messages=[{"role": "user", "content": "Another question?"}])


def draw(project: Project, item: Assignment) -> None:
    assert assigning.next_for(project=project, user=item.user) is None


def draw_ahead(project: Project, item: Assignment) -> None:
    assert handing_ahead.hand_ahead(project=project, user=item.user) == []


def change_role(project: Project, item: Assignment) -> None:
    projects.add_member(project=project, user=item.user, role="reviewer", by=_manager(project))


@pytest.mark.parametrize("act", [remove, exclude, erase, retire, edit, draw, draw_ahead])
def test_nobody_waits_crosswise_for_an_item_that_is_sent(
    project: Project, manager: User, sent: Pause, act: Act
) -> None:
    annotator = program(project)
    make_rating(make_completion(make_prompt(project, side="eval")), author=annotator.user)
    item = make_assignment(annotator.user, *make_pair(project), is_ahead=True)
    answer, _ = meet(send(item, annotator), lambda: act(project, item), sent)
    assert answer.status_code == 201 and Comparison.objects.get().assignment == item
    item.refresh_from_db()
    assert item.state == ("excluded" if act in (exclude, erase) else "submitted")


@pytest.mark.parametrize("act", [remove, exclude, erase, change_role])
def test_nobody_waits_crosswise_for_the_member_whom_a_gold_item_measures(
    project: Project, manager: User, sent: Pause, act: Act
) -> None:
    annotator = program(project)
    a, b = make_pair(project)
    make_rating(make_completion(make_prompt(project, side="eval")), author=annotator.user)
    gold_item = GoldItem.objects.create(
        project=project, kind="compare", prompt=a.prompt, completion_a=a, completion_b=b, expected={"winner": ["tie"]}
    )
    item = make_assignment(annotator.user, a, b, purpose="gold", gold=gold_item)
    answer, _ = meet(send(item, annotator), lambda: act(project, item), sent)
    item.refresh_from_db()
    assert answer.status_code == 201 and item.gold_passed


def test_a_pause_does_not_wait_for_what_else_its_person_sends(project: Project, sent: Pause) -> None:
    annotator = program(project)
    item = make_assignment(annotator.user, *make_pair(project))
    other = make_assignment(annotator.user, make_completion(make_prompt(project)))  # of a kind that is not drawn here

    def pause_alone() -> None:
        with transaction.atomic():
            project.lock()
            gold.pause(project=project, user=annotator.user, by=None, reason="low")

    answer, _ = meet(send(item, annotator), pause_alone, sent)
    states = dict(project.assignments.values_list("pk", "state"))
    assert answer.status_code == 201 and states == {item.pk: "submitted", other.pk: "expired"}


def test_a_decision_between_annotators_is_not_taken_up_while_it_is_sent(project: Project, sent: Pause) -> None:
    reviewer = program(project, role="reviewer")
    pair = make_pair(project)
    for _ in range(2):
        make_assignment(make_user(project), *pair, state="submitted")
    item = adjudication.take(project=project, key=f"compare:{pair[0].pk}:{pair[1].pk}", by=reviewer.user)

    def take_again() -> None:
        with pytest.raises(Refused, match="already decided"):
            adjudication.take(project=project, key=item.item, by=reviewer.user)

    answer, _ = meet(send(item, reviewer), take_again, sent)
    assert answer.status_code == 201


@pytest.fixture
def skipped(monkeypatch: pytest.MonkeyPatch) -> Pause:
    """Pause whoever skips an item when that is written, before they look whether its prompt is to be quarantined."""
    pause, after_skip = Pause(), quarantine.after_skip

    def pause_before(assignment: Assignment) -> None:
        pause()
        after_skip(assignment)

    monkeypatch.setattr(quarantine, "after_skip", pause_before)
    return pause


def skip(item: Assignment) -> None:
    item = Assignment.objects.get(pk=item.pk)  # with a prompt of its own
    assignment_lifecycle.skip(assignment=item, by=item.user, reason=quarantine.BROKEN)


def test_two_who_skip_a_broken_prompt_at_once_quarantine_it(project: Project, skipped: Pause) -> None:
    pair = make_pair(project)
    make_assignment(make_user(project), *pair, state="skipped", skip_reason=quarantine.BROKEN)
    one, other, third = [make_assignment(make_user(project), *pair) for _ in range(3)]
    meet(lambda: skip(one), lambda: skip(other), skipped)
    assert Prompt.objects.get(pk=pair[0].prompt_id).out_since
    third.refresh_from_db()
    assert third.state == "taken out"


def test_who_skips_a_broken_prompt_and_who_retires_it_do_not_wait_crosswise(
    project: Project, manager: User, skipped: Pause
) -> None:
    pair = make_pair(project)
    make_assignment(make_user(project), *pair, state="skipped", skip_reason=quarantine.BROKEN)
    item = make_assignment(make_user(project), *pair)
    meet(lambda: skip(item), lambda: retire(project, item), skipped)
    item.refresh_from_db()
    assert item.state == "skipped" and item.prompt.out_since


def waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


def test_held_votes_are_locked_in_the_order_in_which_their_voter_is_excluded(project: Project, manager: User) -> None:
    voter = make_user(project)
    votes = [make_comparison(*make_pair(project), author=voter, status="held") for _ in range(2)]
    latest_first = Comparison.objects.order_by("-id")
    with transaction.atomic():
        Comparison.objects.select_for_update().get(pk=votes[0].pk)
        excluding = Elsewhere(
            lambda: exclusion.exclude(project=project, person=voter, reason="by lot", by=manager, pauses=False)
        )
        until(lambda: waiting() == 1, LONG, "it waits for the first vote")
        deciding = Elsewhere(
            lambda: held_votes.decide(project=project, rows=latest_first, status="counted", reason="fine", by=manager)
        )
        until(lambda: waiting() == 2, LONG, "it waits, too")
    assert excluding.done() and deciding.done() == 2
