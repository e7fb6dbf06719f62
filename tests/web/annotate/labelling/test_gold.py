"""Items with a known answer, the tutorial, warnings, pauses, and guidelines that are read first."""

from __future__ import annotations

import functools
import random

import pytest

from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.gold import actions as gold_items
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.tutorial import actions as tutorial
from annotate.models import Assignment, Comparison, GoldItem, Membership, Rating
from annotate.projects import actions as projects
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_guideline,
    make_pair,
    make_project,
    make_prompt,
    make_rating,
    make_user,
)

pytestmark = pytest.mark.django_db


def make_gold(project, n=1, *, winner="model_a", **fields):
    made = []
    for _ in range(n):
        a, b = make_pair(project)
        made.append(
            GoldItem.objects.create(
                project=project,
                kind="compare",
                prompt=a.prompt,
                completion_a=a,
                completion_b=b,
                expected={"winner": [winner]},
                **{"explanation": "It answers what was asked.", **fields},
            )
        )
    return made


def answer(assignment, user, *, right: bool):
    [winner] = gold.expected_of(assignment.gold, assignment)["winner"]
    other = {"model_a": "model_b", "model_b": "model_a"}[winner]
    feedback.submit(assignment=assignment, by=user, winner=winner if right else other)
    assignment.refresh_from_db()
    return assignment


def answer_gold(project, user, results):
    """Gold items straight from the drawer, answered right or wrong in this order."""
    for right in results:
        known = gold.draw(project, user, "compare")
        answer(assignments.hand_out_gold(project, user, known, Assignment.Purpose.GOLD), user, right=right)


def member(project, user) -> Membership:
    return Membership.objects.get(project=project, user=user)


# --- handing out ---


@pytest.mark.slow
def test_a_known_item_looks_like_any_other_and_its_sides_are_drawn():
    project = make_project(asks_ratings=False, gold_percent=50)
    make_gold(project, 40)
    for _ in range(80):
        make_pair(project)
    user = make_user(project)
    for _ in range(60):
        a = assignments.next_for(project=project, user=user)
        feedback.submit(assignment=a, by=user, winner="tie")
        if member(project, user).paused_at or member(project, user).notice:
            Membership.objects.filter(user=user).update(paused_at=None, notice="", warned_at=None)
    known = project.assignments.filter(purpose="gold")
    assert 15 <= known.count() <= 40
    swapped = [a.completion_a_id != a.gold.completion_a_id for a in known]
    assert True in swapped and False in swapped
    assert not Comparison.objects.teaching().filter(assignment__in=known).exists()


def test_known_items_fill_no_place_of_the_work():
    project = make_project(asks_ratings=False)
    [known] = make_gold(project)
    user = make_user(project)
    answer(assignments.hand_out_gold(project, user, known, Assignment.Purpose.GOLD), user, right=True)
    assert assignments.next_for(project=project, user=user) is None
    assert assignments.next_for(project=project, user=make_user(project)).prompt == known.prompt


def test_without_work_no_known_items_are_handed_out():
    project = make_project(asks_ratings=False, gold_percent=50)
    known = make_gold(project, 3)
    user = make_user(project)
    while a := assignments.next_for(project=project, user=user):
        feedback.submit(assignment=a, by=user, winner="tie")
    assert project.assignments.filter(user=user).count() <= len(known)


@pytest.mark.parametrize("swap", [False, True])
def test_the_right_winner_is_mapped_to_the_sides_shown(swap):
    project = make_project()
    [known] = make_gold(project, winner="model_b")
    user = make_user(project)
    a, b = (known.completion_b, known.completion_a) if swap else (known.completion_a, known.completion_b)
    assignment = Assignment(project=project, user=user, kind="compare", completion_a=a, completion_b=b, gold=known)
    assert gold.expected_of(known, assignment) == {"winner": ["model_a" if swap else "model_b"]}


def test_every_field_with_a_right_answer_must_be_right():
    project = make_project()
    completion = make_completion(make_prompt(project))
    manager, user = make_user(project, role="manager"), make_user(project)
    known = gold_items.make(
        project=project, by=manager, completions=[completion], expected={"stars": [4, 5], "aspects.honest": [5]}
    )
    results = []
    for said in ({"stars": 4}, {"stars": 5, "aspects": {"honest": 5}}, {"stars": 3, "aspects": {"honest": 5}}):
        Rating.objects.all().delete()
        Assignment.objects.all().delete()
        assignment = assignments.hand_out_gold(project, user, known, Assignment.Purpose.GOLD)
        feedback.submit(assignment=assignment, by=user, **said)
        assignment.refresh_from_db()
        results.append(assignment.gold_passed)
    assert results == [False, True, False]


# --- the rule ---


def test_one_of_two_wrong_pauses_nobody():
    assert not gold.is_too_low(0, 4, 70)
    assert not gold.is_too_low(2, 5, 70)


@pytest.mark.parametrize("right, answered, too_low", [(1, 5, True), (2, 5, False), (4, 10, True), (5, 10, False)])
def test_the_rule_is_an_exact_binomial_test_at_five_percent(right, answered, too_low):
    # P(X <= k) for p = 0.7: 1 of 5 is 0.0308, 2 of 5 is 0.1631, 4 of 10 is 0.0473, 5 of 10 is 0.1503.
    assert gold.is_too_low(right, answered, 70) is too_low


def test_no_mark_pauses_nobody_and_a_full_mark_forgives_nothing():
    assert not gold.is_too_low(0, 10, 0)
    assert gold.is_too_low(9, 10, 100)
    assert not gold.is_too_low(10, 10, 100)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy, most_paused", [(0.95, 0.001), (0.85, 0.005), (0.7, 0.05)])
def test_honest_judges_are_hardly_ever_paused_over_thirty_known_items(accuracy, most_paused):
    assert paused_share(accuracy) <= most_paused


@pytest.mark.slow
def test_a_coin_is_paused_nearly_always_within_forty():
    assert paused_share(0.5, items=40) > 0.6
    assert paused_share(0.25, items=30) > 0.95


def paused_share(accuracy: float, items: int = 30, judges: int = 4000) -> float:
    """The rule as `_look_at` applies it, on judges of a known accuracy: a warning first, then a pause."""
    lot, paused, is_too_low = random.Random(3), 0, functools.cache(gold.is_too_low)
    for _ in range(judges):
        window, warned = [], False
        for _ in range(items):
            window.append(lot.random() < accuracy)
            lately = window[-gold.LOOKED_AT :]
            if is_too_low(sum(lately), len(lately), 70):
                if warned:
                    paused += 1
                    break
                window, warned = [], True
            elif warned and len(lately) >= gold.LOOKED_AT and sum(lately) >= 0.7 * len(lately):
                warned = False
    return paused / judges


def test_first_a_warning_that_is_read_then_a_pause_that_a_manager_lifts():
    project = make_project(asks_ratings=False)
    make_gold(project, 30)
    for _ in range(10):
        make_pair(project)
    user, manager = make_user(project), make_user(project, role="manager")
    answer_gold(project, user, [False] * 5)
    with pytest.raises(prerequisites.NotYet) as warned:
        assignments.next_for(project=project, user=user)
    assert warned.value.prerequisite == "warning"
    assert "It answers what was asked." in member(project, user).notice
    prerequisites.notice_read(project=project, user=user)
    held = assignments.next_for(project=project, user=user)

    answer_gold(project, user, [False] * 5)
    with pytest.raises(prerequisites.NotYet) as paused:
        assignments.next_for(project=project, user=user)
    assert paused.value.prerequisite == "paused" and paused.value.status == 403
    held.refresh_from_db()
    assert held.state == "expired"  # what they held goes to others
    with pytest.raises(Refused):
        gold.lift(project=project, user=user, by=user)
    gold.lift(project=project, user=user, by=manager, note="We talked.")
    with pytest.raises(prerequisites.NotYet) as refused:
        assignments.next_for(project=project, user=user)
    assert refused.value.prerequisite == "warning" and "We talked." in member(project, user).notice
    prerequisites.notice_read(project=project, user=user)
    assert assignments.next_for(project=project, user=user) is not None
    actions = list(project.audit.order_by("id").values_list("action", flat=True))
    assert actions == ["member.warned", "member.paused", "member.lifted"]
    answer_gold(project, user, [False] * 4)
    assert member(project, user).warned_at is None  # what was before the lift is not looked at again


def test_the_standings_of_all_are_those_of_each_in_as_many_queries(django_assert_num_queries):
    project = make_project(gold_pass_percent=0)
    make_gold(project, 30)
    people = [make_user(project, username=f"person-{k}") for k in range(4)]
    random.seed(1)
    for k, user in enumerate(people[:3]):
        answer_gold(project, user, [random.random() < 0.5 for _ in range(4 * (k + 1) + 1)])
    newest = Assignment.objects.filter(user=people[2]).order_by("-pk")[:4]
    member_with_a_decision = member(project, people[2])
    member_with_a_decision.gold_since = newest[3].created_at
    member_with_a_decision.save()
    with django_assert_num_queries(3):
        standings = gold.standings(project)
    assert {one.user.username: now for one, now in standings} == {
        user.username: gold.standing(member(project, user)) for user in people[:3]
    }
    assert standings[-1][1].answered == 3 and standings[1][1].answered == 9


def test_a_warning_is_spent_when_the_next_ten_go_well():
    project = make_project(asks_ratings=False)
    make_gold(project, 30)
    user = make_user(project)
    answer_gold(project, user, [False] * 5)
    assert member(project, user).warned_at is not None
    answer_gold(project, user, [True] * 10)
    assert member(project, user).warned_at is None


def test_a_paused_person_cannot_take_up_what_ran_out():
    project = make_project(asks_ratings=False)
    make_pair(project)
    user, manager = make_user(project), make_user(project, role="manager")
    held = assignments.next_for(project=project, user=user)
    gold.pause(project=project, user=user, by=manager, reason="Sends the same answer to everything.")
    held.refresh_from_db()
    with pytest.raises(Refused) as refused:
        assignment_lifecycle.again(assignment=held, by=user)
    assert "paused" in refused.value.errors


def test_undo_forgets_whether_it_was_right():
    project = make_project(asks_ratings=False)
    [known] = make_gold(project)
    user = make_user(project)
    a = answer(assignments.hand_out_gold(project, user, known, Assignment.Purpose.GOLD), user, right=False)
    feedback.undo(assignment=a, by=user)
    assert a.gold_passed is None
    answer(a, user, right=True)
    assert a.gold_passed is True


def test_what_a_warning_was_about_is_not_answered_again_to_count_as_new():
    project = make_project(asks_ratings=False, gold_pass_percent=70)
    make_gold(project, 6)
    user = make_user(project)
    answer_gold(project, user, [False] * 5)
    assert member(project, user).warned_at
    last = Assignment.objects.filter(user=user, purpose="gold").order_by("pk").last()
    feedback.undo(assignment=last, by=user)
    answer(last, user, right=True)
    assert gold.standing(member(project, user)).answered == 0


def test_a_paused_person_takes_nothing_back_into_their_hands():
    project = make_project(asks_ratings=False, overlap=1)
    make_pair(project)
    user, manager = make_user(project), make_user(project, role="manager")
    done = assignments.next_for(project=project, user=user)
    feedback.submit(assignment=done, by=user, winner="tie")
    gold.pause(project=project, user=user, by=manager, reason="Sends the same answer to everything.")
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=done, by=user)
    assert "paused" in refused.value.errors
    assert Comparison.objects.get().status == "counted"


def test_whoever_left_the_project_takes_nothing_back():
    project = make_project(asks_ratings=False)
    make_pair(project)
    user, manager = make_user(project), make_user(project, role="manager")
    done = assignments.next_for(project=project, user=user)
    feedback.submit(assignment=done, by=user, winner="tie")
    projects.remove_member(project=project, user=user, by=manager)
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=done, by=user)
    assert refused.value.status == 403


# --- making them ---


def test_only_managers_make_them_and_only_on_the_train_split():
    project = make_project()
    a, b = make_pair(project)
    manager = make_user(project, role="manager")
    with pytest.raises(Refused):
        gold_items.make(project=project, by=make_user(project), completions=[a, b], expected={"winner": ["tie"]})
    with pytest.raises(Refused) as refused:
        gold_items.make(
            project=project, by=manager, completions=list(make_pair(project, side="eval")), expected={"winner": ["tie"]}
        )
    assert "eval split" in refused.value.errors["completions"]
    gold_items.make(project=project, by=manager, completions=[a, b], expected={"winner": ["tie"]})
    with pytest.raises(Refused) as twice:
        gold_items.make(project=project, by=manager, completions=[b, a], expected={"winner": ["tie"]})
    assert twice.value.status == 409
    assert project.audit.filter(action="gold.made").count() == 1


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"winner": []},
        {"winner": ["model_c"]},
        {"winner": "model_a"},
        {"stars": [4]},
        {"winner": [["model_a"]]},
        {"winner": ["model_a", "model_b", "tie", "both_bad"]},
    ],
)
def test_an_expectation_that_makes_no_sense_is_refused(expected):
    with pytest.raises(Refused) as refused:
        gold_items.checked_expectation("compare", expected)
    assert list(refused.value.errors) == ["expected"]


@pytest.mark.parametrize("expected", [{"stars": [0]}, {"stars": [True]}, {"thumbs": [1]}, {"aspects.honest": [6]}])
def test_true_is_no_star_and_one_is_no_thumb(expected):
    with pytest.raises(Refused):
        gold_items.checked_expectation("rate", expected)


def test_what_people_agree_on_makes_a_known_item_whichever_side_it_was_shown_on():
    project = make_project()
    a, b = make_pair(project)
    manager = make_user(project, role="manager")
    make_comparison(a, b, "model_a")
    with pytest.raises(Refused):
        gold_items.make_from_consensus(project=project, by=manager, key=f"compare:{a.pk}:{b.pk}")
    make_comparison(b, a, "model_b")
    made = gold_items.make_from_consensus(project=project, by=manager, key=f"compare:{a.pk}:{b.pk}")
    assert made.expected == {"winner": ["model_a"]}


def test_stars_that_lie_together_make_a_known_item():
    project = make_project()
    completion = make_completion(make_prompt(project))
    for stars in (4, 5):
        make_rating(completion, stars=stars)
    made = gold_items.make_from_consensus(
        project=project, by=make_user(project, role="manager"), key=f"rate:{completion.pk}"
    )
    assert made.expected == {"stars": [4, 5]}


def test_a_retired_item_is_asked_no_more():
    project = make_project()
    [known] = make_gold(project)
    user, manager = make_user(project), make_user(project, role="manager")
    assert gold.draw(project, user, "compare") == known
    gold_items.retire(item=known, by=manager)
    assert gold.draw(project, user, "compare") is None


# --- the tutorial ---


def test_the_tutorial_comes_first_in_its_order_and_explains_each():
    project = make_project(asks_ratings=False)
    second, first = make_gold(project, is_tutorial=True, position=2), make_gold(project, is_tutorial=True, position=1)
    make_pair(project)
    user = make_user(project)
    with pytest.raises(prerequisites.NotYet) as not_yet:
        assignments.next_for(project=project, user=user)
    assert not_yet.value.prerequisite == "tutorial"
    seen = []
    for right in (True, False):
        lesson = tutorial.next_lesson(project=project, user=user)
        assert tutorial.next_lesson(project=project, user=user) == lesson
        with pytest.raises(Refused):
            tutorial.lesson_of(lesson, user)  # nothing is told before it is answered
        seen.append(lesson.gold)
        answer(lesson, user, right=right)
        told = tutorial.lesson_of(lesson, user)
        assert (told.is_right, told.explanation) == (right, "It answers what was asked.")
    assert seen == [*first, *second]
    assert tutorial.next_lesson(project=project, user=user) is None
    assert tutorial.score(project, user) == 1
    assert assignments.next_for(project=project, user=user).purpose == "work"


def test_a_lesson_is_answered_once_and_the_judge_page_offers_no_way_back(client):
    project = make_project(asks_ratings=False)
    make_gold(project, is_tutorial=True)
    make_pair(project)
    user = make_user(project)
    lesson = answer(tutorial.next_lesson(project=project, user=user), user, right=False)
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=lesson, by=user)
    assert refused.value.status == 409 and "seen the right answer" in refused.value.errors["assignment"]
    assert tutorial.next_lesson(project=project, user=user) is None
    client.force_login(user)
    html = client.get(f"/p/{project.slug}/judge/").content.decode()
    assert "undo-form" not in html and "0 done today" in html  # a lesson is no day's work


def test_a_lesson_that_was_skipped_or_ran_out_comes_again():
    project = make_project(asks_ratings=False)
    make_gold(project, is_tutorial=True)
    user = make_user(project)
    lesson = tutorial.next_lesson(project=project, user=user)
    assignment_lifecycle.skip(assignment=lesson, by=user, reason="no idea")
    assert tutorial.next_lesson(project=project, user=user) == lesson
    assert member(project, user).tutorial_passed_at is None


def test_a_known_item_of_the_work_explains_nothing():
    project = make_project(asks_ratings=False)
    [known] = make_gold(project)
    user = make_user(project)
    a = answer(assignments.hand_out_gold(project, user, known, Assignment.Purpose.GOLD), user, right=False)
    with pytest.raises(Refused) as refused:
        tutorial.lesson_of(a, user)
    assert refused.value.status == 404


# --- guidelines ---


def test_each_version_is_read_once_before_the_next_item():
    project = make_project()
    make_pair(project)
    make_pair(project)
    make_guideline(project)
    user = make_user(project)
    with pytest.raises(prerequisites.NotYet) as not_yet:
        assignments.next_for(project=project, user=user)
    assert not_yet.value.prerequisite == "guidelines"
    prerequisites.guidelines_read(project=project, user=user)
    held = assignments.next_for(project=project, user=user)
    make_guideline(project, "Prefer the kind one.")
    assert assignments.next_for(project=project, user=user) == held  # what is in hand may be finished
    feedback.submit(assignment=held, by=user, stars=4)
    with pytest.raises(prerequisites.NotYet):
        assignments.next_for(project=project, user=user)
    with pytest.raises(Refused) as stale:
        prerequisites.guidelines_read(project=project, user=user, version=1)
    assert stale.value.status == 409
    prerequisites.guidelines_read(project=project, user=user, version=2)
    assert assignments.next_for(project=project, user=user) is not None


def test_a_project_may_do_without():
    project = make_project(must_read_guidelines=False)
    make_pair(project)
    make_guideline(project)
    assert assignments.next_for(project=project, user=make_user(project)) is not None


def test_what_changed_is_told_line_by_line():
    lines = prerequisites.diff_lines("Be kind.\nBe brief.", "Be kind.\nBe true.\nBe brief.")
    assert [(line.sign, line.text) for line in lines if line.text] == [
        ("", "Be kind."),
        ("+", "Be true."),
        ("", "Be brief."),
    ]
    assert prerequisites.diff_lines("Same.", "Same.") == []


def test_whoever_leaves_gives_back_what_they_held():
    project = make_project(asks_ratings=False)
    make_pair(project)
    user, manager, other = make_user(project), make_user(project, role="manager"), make_user(project)
    assignments.next_for(project=project, user=user)
    assert assignments.next_for(project=project, user=other) is None
    projects.remove_member(project=project, user=user, by=manager)
    assert assignments.next_for(project=project, user=other) is not None
