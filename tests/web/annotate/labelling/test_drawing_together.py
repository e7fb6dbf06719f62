"""On Postgres people are handed items of one project at the same time, each of another entry of the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.core.db.postgres import one_trip
from annotate.core.db.prepared import Asked
from annotate.core.metrics.counters import VOTES
from annotate.labelling import actions as feedback
from annotate.labelling import assigning, handing_ahead
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue.locked_look import lock_together
from annotate.models import Assignment, Comparison, Completion, FirstAnswer, Membership, Project, QueueChange, User
from annotate.models.project_locks import give_back
from tests.support.api_client import errors, program
from tests.support.elsewhere import LONG, Elsewhere, somebody_waits
from tests.support.factories import make_completion, make_project, make_prompt, make_user
from tests.support.processes import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer"),
]


@pytest.fixture
def project() -> Project:
    project = make_project(asks_ratings=False, overlap=1)
    for _ in range(3):
        prompt = make_prompt(project)
        make_completion(prompt), make_completion(prompt)
    with transaction.atomic():
        project.lock()
        while queue.take_in(project, []):
            pass
    return project


def draw(project: Project, user: User) -> Any:
    return assigning.next_for(project=project, user=user)


def test_somebody_is_handed_another_prompt_while_the_first_is_not_stored_yet(project: Project) -> None:
    first, second = make_user(project), make_user(project)
    with transaction.atomic():
        one = draw(project, first)
        other = Elsewhere(lambda: draw(project, second)).done()
    assert one.prompt_id != other.prompt_id


def test_nobody_waits_for_a_prompt_that_is_new(project: Project) -> None:
    """A visitor's question is one, and several may come each second."""
    first, second, new = make_user(project), make_user(project), make_prompt(project)
    make_completion(new), make_completion(new)
    with transaction.atomic():
        one = draw(project, first)
        other = Elsewhere(lambda: draw(project, second)).done()
    assert new.pk not in (one.prompt_id, other.prompt_id) and QueueChange.objects.exists()


def test_who_holds_an_item_gets_it_again_while_another_one_is_not_stored_yet(project: Project) -> None:
    first, second = make_user(project), make_user(project)
    held = draw(project, second)
    with transaction.atomic():
        draw(project, first)
        assert Elsewhere(lambda: draw(project, second)).done() == held


def test_the_last_item_goes_to_one_of_two(project: Project) -> None:
    users = [make_user(project) for _ in range(4)]
    for user in users[:2]:
        assert draw(project, user)
    with transaction.atomic():
        assert draw(project, users[2])
        late = Elsewhere(lambda: draw(project, users[3]))
        until(somebody_waits, LONG, "it looks whether the one that is being handed out is the last")
    assert late.done() is None


def test_one_person_who_asks_twice_at_once_gets_one_item(project: Project) -> None:
    user = make_user(project)
    with transaction.atomic():
        first = draw(project, user)
        again = Elsewhere(lambda: draw(project, user))
        until(somebody_waits, LONG, "the second waits for the first")
    assert again.done() == first and project.assignments.count() == 1


def lock_alone_elsewhere(project: Project) -> Elsewhere:
    def work() -> bool:
        with transaction.atomic():
            project.lock()
            return True

    return Elsewhere(work)


def test_whoever_has_the_project_alone_waits_for_those_who_have_it_together(project: Project) -> None:
    with transaction.atomic():
        lock_together(project.pk, make_user(project).pk)
        alone = lock_alone_elsewhere(project)
        until(somebody_waits, LONG, "it waits for us")
    assert alone.done()


def test_a_lock_that_was_not_enough_is_given_back(project: Project) -> None:
    with transaction.atomic():
        assert lock_together(project.pk, make_user(project).pk, Asked("SELECT %(n)s + 1", {"n": 2})) == [[(3,)]]
        give_back()
        assert lock_alone_elsewhere(project).done()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note what goes to Postgres: packets of statements, and each statement of Django's own cursors."""
    noted: list[Any] = []

    def noting(act: Callable[..., Any]) -> Callable[..., Any]:
        def noted_act(*arguments: Any, **options: Any) -> Any:
            noted.append(arguments[1])
            return act(*arguments, **options)

        return noted_act

    monkeypatch.setattr(one_trip, "run", noting(one_trip.run))
    monkeypatch.setattr(CursorWrapper, "execute", noting(CursorWrapper.execute))
    return noted


@pytest.mark.parametrize("tags", ["", "de", "de, fr"])
def test_a_comparison_with_the_next_item_takes_three_trips(project: Project, trips: list[Any], tags: str) -> None:
    annotator = program(project)
    Membership.objects.filter(user=annotator.user).update(language=tags)
    task = annotator.post(f"projects/{project.slug}/assignments/").json()
    for n in range(2):
        trips.clear()
        address = f"assignments/{task['id']}/submit/?next=1"
        task = annotator.post(address, {"winner": "tie"}, key=f"comparison {n}").json()["next"]
        assert len(trips) == 3, trips
    assert project.assignments.get(state="open").pk == task["id"] and Comparison.objects.count() == 2


def test_what_is_closed_before_it_is_stored_is_refused_and_brings_no_next_item(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored with the question for the next item, and may be refused as late as that."""
    annotator = program(project)
    task = annotator.post(f"projects/{project.slug}/assignments/").json()
    prepare = feedback.prepare

    def prepare_and_skip(**fields: Any) -> Any:
        store = prepare(**fields)
        project.assignments.update(state="skipped")
        return store

    monkeypatch.setattr(feedback, "prepare", prepare_and_skip)
    counted = VOTES.labels("annotation", "refused")._value.get
    before = counted()
    refusal = annotator.post(f"assignments/{task['id']}/submit/?next=1", {"winner": "tie"}, key="late")
    assert "already skipped" in errors(refusal, 409)["assignment"] and counted() == before + 1
    assert not Comparison.objects.exists() and not FirstAnswer.objects.exists()
    assert project.assignments.get().state == "skipped"


def test_a_key_of_another_task_is_refused_with_the_next_item_asked_for(project: Project) -> None:
    annotator = program(project)
    task = annotator.post(f"projects/{project.slug}/assignments/").json()
    for status in (201, 409):
        FirstAnswer.objects.all().delete()  # it is kept for some time alone
        sent = annotator.post(f"assignments/{task['id']}/submit/?next=1", {"winner": "tie"}, key="the same")
        assert sent.status_code == status
        task = sent.json().get("next")
    assert "idempotency_key" in errors(sent, 409) and Comparison.objects.count() == 1


def test_an_item_whose_transaction_fails_is_nobodys(project: Project) -> None:
    user = make_user(project)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        draw(project, user)
        _ = 1 / 0
    assert not project.assignments.exists()
    assert len({draw(project, make_user(project)).prompt_id for _ in range(3)}) == 3


def judge_on_page(client: Client, task: Assignment, key: str, **sent: Any) -> Any:
    """Send the page's form as its script does."""
    form = {"assignment": task.pk, "choice": "tie", "idempotency_key": key, **sent}
    return client.post(reverse("annotate", args=[task.project.slug]), form, headers={"HX-Request": "true"})


def at_page(project: Project) -> tuple[Client, Assignment]:
    client, user = Client(), make_user(project)
    client.force_login(user)
    return client, draw(project, user)


def test_the_page_stores_with_the_question_for_the_next_item_and_commits_once(
    project: Project, trips: list[Any]
) -> None:
    client, task = at_page(project)
    for n in range(2):
        trips.clear()
        assert judge_on_page(client, task, f"comparison {n}").status_code == 200
        [stored] = [at for at, trip in enumerate(trips) if 'INSERT INTO "annotate_comparison"' in str(trip)]
        assert "annotate_queueentry" in str(trips[stored]), trips[stored]
        assert 'INSERT INTO "annotate_assignment"' in str(trips[stored + 1]), trips[stored + 1]
        task = project.assignments.get(state="open")
    assert Comparison.objects.count() == 2


def test_what_a_page_sends_late_takes_its_item_up_again_and_brings_the_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, task = at_page(project)
    prepare = feedback.prepare
    run_out = [True]

    def prepare_and_run_out(**fields: Any) -> Any:
        store = prepare(**fields)
        if run_out.pop():
            project.assignments.update(expires_at=timezone.now())
            run_out.append(False)
        return store

    monkeypatch.setattr(feedback, "prepare", prepare_and_run_out)
    assert judge_on_page(client, task, "late").status_code == 200 and run_out == []
    assert Comparison.objects.get().assignment == task and project.assignments.filter(state="open").count() == 1


def test_a_form_that_comes_twice_at_once_is_stored_once_and_both_show_the_next_item(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, task = at_page(project)
    prepare = feedback.prepare

    def prepare_after_a_twin(**fields: Any) -> Any:
        store = prepare(**fields)
        monkeypatch.setattr(feedback, "prepare", prepare)
        assert judge_on_page(client, task, "the same").status_code == 200
        return store

    monkeypatch.setattr(feedback, "prepare", prepare_after_a_twin)
    page = judge_on_page(client, task, "the same")
    following = project.assignments.get(state="open")
    assert page.status_code == 200 and f'data-assignment="{following.pk}"' in page.content.decode()
    assert Comparison.objects.count() == 1


@pytest.fixture
def ahead(project: Project) -> tuple[Client, Assignment]:
    """Return the page of somebody who sends the only item left before anybody heard that they were shown it."""
    client, user = Client(), make_user(project)
    client.force_login(user)
    others = project.prompts.exclude(pk=project.prompts.first().pk)
    Completion.objects.filter(prompt__in=others).delete(), others.delete()
    [item] = handing_ahead.hand_ahead(project=project, user=user)
    assert item.is_ahead
    return client, item


def run_out_and_draw(project: Project, item: Assignment) -> Any:
    late = timezone.now() + timedelta(hours=1)
    with mock.patch("django.utils.timezone.now", lambda: late):
        return draw(project, make_user(project))


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda project, item: draw(project, make_user(project)), id="somebody else draws"),
        pytest.param(run_out_and_draw, id="somebody else draws when it has run out"),
        pytest.param(
            lambda project, item: handing_ahead.take_up(project=project, user=item.user, pk=item.pk),
            id="it is taken up",
        ),
    ],
)
def test_whoever_has_the_project_does_not_wait_for_what_is_being_sent(
    project: Project, ahead: tuple[Client, Assignment], act: Callable[[Project, Assignment], Any]
) -> None:
    """Its sender waits for the project: the two would wait for each other."""
    client, item = ahead
    with transaction.atomic():
        project.lock()
        sending = Elsewhere(lambda: judge_on_page(client, item, "once"))
        until(somebody_waits, LONG, "it is stored, and waits for the project to draw the next")
        assert act(project, item) is None
    assert sending.done().status_code == 200
    item.refresh_from_db()
    assert item.state == "submitted" and Comparison.objects.get().assignment == item
