"""Handing out: fair, blind, never beyond the overlap, and quick in a large project."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle, queue_upkeep
from annotate.models import Assignment, Completion
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_user,
)

pytestmark = pytest.mark.django_db


def run_out(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def annotate_all(project, user, kind=None) -> list[Assignment]:
    """Judge until there is nothing left."""
    done = []
    while assignment := assignments.next_for(project=project, user=user, kind=kind):
        said = {"stars": 4} if assignment.kind == "rate" else {"winner": "tie"}
        feedback.submit(assignment=assignment, by=user, **said)
        done.append(assignment)
    return done


def test_asking_again_gives_the_same_item():
    project = make_project()
    make_pair(project)
    user = make_user(project)
    first = assignments.next_for(project=project, user=user)
    assert assignments.next_for(project=project, user=user) == first
    assert Assignment.objects.count() == 1


def test_one_person_gets_every_item_once():
    project = make_project()
    prompt = make_prompt(project)
    for _ in range(3):
        make_completion(prompt)
    items = [a.item for a in annotate_all(project, make_user(project))]
    assert len(items) == len(set(items)) == 3 + 3  # three ratings, three pairs


def test_an_item_in_hand_is_not_handed_to_a_second_person():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    assert assignments.next_for(project=project, user=make_user(project))
    assert assignments.next_for(project=project, user=make_user(project)) is None


def test_an_item_goes_to_as_many_people_as_the_overlap_asks_for():
    project = make_project(asks_comparisons=False, overlap=2)
    make_completion(make_prompt(project))
    served = [bool(assignments.next_for(project=project, user=make_user(project))) for _ in range(3)]
    assert served == [True, True, False]


def test_a_simulation_does_not_use_up_what_a_person_could_judge():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    assert annotate_all(project, make_user(project, is_simulated=True))
    assert assignments.next_for(project=project, user=make_user(project)) is not None


def test_an_item_whose_time_ran_out_goes_to_someone_else_and_not_to_the_same_person():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    late, other = make_user(project), make_user(project)
    first = assignments.next_for(project=project, user=late)
    run_out(first)
    assert assignments.next_for(project=project, user=late) is None
    assert assignments.next_for(project=project, user=other).item == first.item
    first.refresh_from_db()
    assert first.state == "expired"


def test_a_skipped_item_goes_to_someone_else_and_not_to_the_same_person():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    user = make_user(project)
    skipped = assignment_lifecycle.skip(
        assignment=assignments.next_for(project=project, user=user), by=user, reason=" I cannot judge this "
    )
    assert (skipped.state, skipped.skip_reason) == ("skipped", "I cannot judge this")
    assert assignments.next_for(project=project, user=user) is None
    assert assignments.next_for(project=project, user=make_user(project)) is not None


def test_what_is_judged_least_comes_first():
    project = make_project(asks_comparisons=False, overlap=3)
    for _ in range(6):
        make_completion(make_prompt(project))
    for _ in range(2):
        user = make_user(project)
        for _ in range(6):
            a = assignments.next_for(project=project, user=user)
            feedback.submit(assignment=a, by=user, thumbs=True)
    assert set(Counter(Assignment.objects.values_list("item", flat=True)).values()) == {2}


def test_comparisons_spread_over_prompts_before_any_prompt_is_asked_twice():
    project = make_project(asks_ratings=False)
    for _ in range(4):
        prompt = make_prompt(project)
        for _ in range(3):
            make_completion(prompt)
    user = make_user(project)
    prompts = []
    for _ in range(4):
        a = assignments.next_for(project=project, user=user)
        feedback.submit(assignment=a, by=user, winner="model_a")
        prompts.append(a.prompt_id)
    assert len(set(prompts)) == 4


def test_a_pair_is_of_one_prompt_and_of_different_words():
    project = make_project(asks_ratings=False)
    prompt = make_prompt(project)
    for text in ("Yes.", "Yes. ", "No."):
        make_completion(prompt, text)
    make_completion(make_prompt(project), "Elsewhere.")
    pairs = annotate_all(project, make_user(project))
    assert len(pairs) == 2
    for pair in pairs:
        assert {pair.completion_a.prompt_id, pair.completion_b.prompt_id} == {prompt.pk}
        assert pair.completion_a.text.strip() != pair.completion_b.text.strip()


def test_the_order_of_a_and_b_is_random_and_stays_for_an_assignment():
    project = make_project(asks_ratings=False)
    for _ in range(24):
        make_pair(project)
    user = make_user(project)
    swapped = [a.completion_a_id > a.completion_b_id for a in annotate_all(project, user)]
    assert len(swapped) == 24
    assert True in swapped and False in swapped


def test_only_the_train_split_is_served():
    project = make_project()
    make_pair(project, side="eval")
    assert assignments.next_for(project=project, user=make_user(project)) is None


def test_kinds_come_in_runs_when_both_are_asked_for():
    project = make_project()
    for _ in range(10):
        make_pair(project)
    user = make_user(project)
    kinds = []
    for _ in range(10):
        a = assignments.next_for(project=project, user=user)
        feedback.submit(assignment=a, by=user, **({"stars": 3} if a.kind == "rate" else {"winner": "model_b"}))
        kinds.append(a.kind)
    assert kinds == ["rate"] * 5 + ["compare"] * 5


def test_a_kind_can_be_asked_for():
    project = make_project()
    make_pair(project)
    assert assignments.next_for(project=project, user=make_user(project), kind="compare").kind == "compare"


@pytest.mark.parametrize("kind", ["compare", "rank", ""])
def test_a_kind_that_the_project_does_not_ask_for_is_refused(kind):
    project = make_project(asks_comparisons=False)
    with pytest.raises(Refused) as refused:
        assignments.next_for(project=project, user=make_user(project), kind=kind)
    assert refused.value.status == 400
    assert "use rate" in refused.value.errors["kind"]


def test_only_members_are_handed_items():
    project = make_project()
    make_pair(project)
    with pytest.raises(Refused) as refused:
        assignments.next_for(project=project, user=make_user())
    assert refused.value.status == 403


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201, "a\x00b"])
def test_a_skip_needs_a_reason_that_can_be_read(reason):
    project = make_project()
    user = make_user(project)
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    with pytest.raises(Refused) as refused:
        assignment_lifecycle.skip(assignment=assignment, by=user, reason=reason)
    assert list(refused.value.errors) == ["reason"]
    assignment.refresh_from_db()
    assert assignment.state == "open"


def test_nobody_skips_for_someone_else():
    project = make_project()
    assignment = make_assignment(make_user(project), make_completion(make_prompt(project)))
    with pytest.raises(Refused) as refused:
        assignment_lifecycle.skip(assignment=assignment, by=make_user(project), reason="mine now")
    assert refused.value.status == 403


def test_an_expired_item_can_be_taken_up_again_while_nobody_else_has_it():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    user = make_user(project)
    assignment = assignments.next_for(project=project, user=user)
    run_out(assignment)
    assignment_lifecycle.again(assignment=assignment, by=user)
    assert assignments.next_for(project=project, user=user) == assignment


def test_an_expired_item_that_someone_else_has_cannot_be_taken_up_again():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    user = make_user(project)
    assignment = assignments.next_for(project=project, user=user)
    run_out(assignment)
    assert assignments.next_for(project=project, user=make_user(project))
    with pytest.raises(Refused) as refused:
        assignment_lifecycle.again(assignment=assignment, by=user)
    assert refused.value.status == 409


def test_a_large_project_is_answered_with_few_queries(django_assert_max_num_queries):
    project = make_project()
    model = make_model()
    prompts = [make_prompt(project) for _ in range(60)]
    Completion.objects.bulk_create(
        Completion(prompt=prompt, model=model, text=f"{prompt.pk} {i}") for prompt in prompts for i in range(6)
    )
    assignments.next_for(project=project, user=make_user(project))
    while queue_upkeep.take_in_changes():  # nobody takes in many at once, for nobody else writes meanwhile
        pass
    user = make_user(project)
    with django_assert_max_num_queries(15):
        assert assignments.next_for(project=project, user=user)


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_never_exceed_the_overlap():
    if connection.vendor == "sqlite" and "memory" in str(connection.settings_dict["NAME"]):
        pytest.fail("Threads need a test database in a file: set DATABASES['default']['TEST']['NAME'].")
    project = make_project(asks_comparisons=False, overlap=2)
    prompt = make_prompt(project)
    for _ in range(3):
        make_completion(prompt)
    users = [make_user(project) for _ in range(8)]
    gate = threading.Barrier(8)
    served, failures = [], []

    def ask(user):
        try:
            gate.wait()
            if assignment := assignments.next_for(project=project, user=user):
                served.append(assignment.item)
        except Exception as error:  # shown by the assertion below, in the main thread
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(served) == 6  # three items, two places each; two people go without
    assert max(Counter(served).values()) == 2
