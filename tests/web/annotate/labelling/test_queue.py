"""The queue: every kind, exact overlap, even sides, mirrored repeats, and what leaves it."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter, defaultdict
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.utils import timezone

from annotate.core.db.prepared import ask
from annotate.core.errors import Refused
from annotate.data.prompts import retirement
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle, queue_upkeep
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import positions, priorities, quarantine
from annotate.labelling.queue import swapped_repeats as repeats
from annotate.labelling.queue.assigned_items import items_of
from annotate.labelling.queue.locked_look import Look, lock_and_look
from annotate.models import Assignment, Comparison, Completion, Flag, ItemPriority, QueueChange, QueueEntry
from tests.support.api_client import program
from tests.support.factories import make_completion, make_model, make_pair, make_project, make_prompt, make_user
from tests.web.annotate.red_team.test_red_team import ready

pytestmark = pytest.mark.django_db
SAID = {"rate": {"stars": 4}, "compare": {"winner": "tie"}, "write": {"text": "As I would say it."}}


def said_of(assignment: Assignment) -> dict:
    if assignment.kind == "rank":
        return {"rank": [[pk] for pk in assignment.shown]}
    return SAID[assignment.kind]


def annotate_one(project, user, **said) -> Assignment | None:
    assignment = assignments.next_for(project=project, user=user)
    if assignment is not None:
        feedback.submit(assignment=assignment, by=user, **(said or said_of(assignment)))
    return assignment


def long_ago(**filters) -> None:
    """Earlier work is old enough to be shown again."""
    Assignment.objects.filter(**filters).update(closed_at=timezone.now() - timedelta(hours=1))


# --- kinds ---


def test_three_to_six_different_answers_are_ranked():
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_rankings=True)
    prompt = make_prompt(project)
    answers = [make_completion(prompt, text) for text in ("One.", "Two.", "Three.", "Three. ")]
    make_pair(project)  # too few
    user = make_user(project)
    ranked = annotate_one(project, user)
    assert sorted(ranked.shown) == [a.pk for a in answers[:3]]
    assert ranked.item == "rank:" + ":".join(str(a.pk) for a in answers[:3])
    assert annotate_one(project, user) is None
    assert Comparison.objects.filter(ranking__isnull=False).count() == 3


@pytest.mark.parametrize("n, sizes", [(2, []), (3, [3]), (6, [6]), (7, [6, 3]), (9, [6, 3]), (13, [6, 6, 3])])
def test_many_answers_are_ranked_six_at_a_time_and_none_is_left_over(n, sizes):
    items = items_of(1, "rank", [(pk, f"answer {pk}") for pk in range(1, n + 1)])
    assert [len(item.completion_ids) for item in items] == sizes
    if sizes:
        assert {pk for item in items for pk in item.completion_ids} == set(range(1, n + 1))


def test_a_later_answer_does_not_change_what_is_being_ranked():
    def groups(n):
        return {i.key for i in items_of(1, "rank", [(pk, str(pk)) for pk in range(1, n + 1)])}

    assert groups(6) <= groups(9) <= groups(12) | groups(9)


def test_as_many_write_an_answer_as_the_project_asks_for():
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_answers=True, overlap=2)
    make_prompt(project)
    done = [annotate_one(project, make_user(project)) for _ in range(3)]
    assert [bool(a) for a in done] == [True, True, False]


def test_an_answer_written_elsewhere_counts_for_its_prompt():
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_answers=True)
    prompt = make_prompt(project)
    user = make_user(project)
    project.demonstrations.create(prompt=prompt, text="Imported.", judge="person", author=user, source="book")
    assert assignments.next_for(project=project, user=user) is None


def test_an_answer_written_elsewhere_that_counts_no_more_leaves_its_prompt_to_others():
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_answers=True)
    prompt, manager = make_prompt(project), program(project, "manager")
    row = project.demonstrations.create(prompt=prompt, text="Imported.", judge="person", author=manager.user)
    user = make_user(project)
    assert assignments.next_for(project=project, user=user) is None
    assert manager.post(f"demonstrations/{row.pk}/status/", {"status": "excluded", "reason": "Copied."}).data
    assert assignments.next_for(project=project, user=user).prompt == prompt


@pytest.mark.parametrize("is_revised", [False, True])
def test_a_text_beside_a_rating_leaves_nothing_to_write(is_revised):
    project = make_project(asks_comparisons=False, asks_answers=True)
    answer, annotator = make_completion(make_prompt(project)), program(project)
    queue_upkeep.take_in_changes()
    task = annotator.post(f"projects/{project.slug}/assignments/", {"kind": "rate"}).json()
    address, better = f"assignments/{task['id']}/submit/", {"stars": 2, "text": "A better one."}
    if is_revised:
        assert annotator.post(address, {"stars": 2}).status_code == 201
        assert annotator.put(address, better).status_code == 200
    else:
        assert annotator.post(address, better).status_code == 201
    queue_upkeep.take_in_changes()
    to_write = QueueEntry.objects.get(prompt=answer.prompt, kind="write")
    assert to_write.level == 1 and to_write not in QueueEntry.with_room(project)


def test_four_kinds_come_in_runs():
    project = make_project(asks_rankings=True, asks_answers=True)
    for _ in range(6):
        prompt = make_prompt(project)
        for _ in range(3):
            make_completion(prompt)
    user = make_user(project)
    kinds = [annotate_one(project, user).kind for _ in range(20)]
    assert kinds == ["rate"] * 5 + ["compare"] * 5 + ["rank"] * 5 + ["write"] * 5


def test_an_eval_prompt_is_never_asked_about_in_any_kind():
    project = make_project(asks_rankings=True, asks_answers=True)
    prompt = make_prompt(project, side="eval")
    for _ in range(4):
        make_completion(prompt)
    assert assignments.next_for(project=project, user=make_user(project)) is None


# --- overlap and concurrency ---


def test_fifty_judges_to_exhaustion_meet_the_overlap_exactly_and_nobody_gets_an_item_twice():
    project = make_project(overlap=3, asks_rankings=True, asks_answers=True, repeat_percent=20, assignment_minutes=30)
    model = make_model()
    for n in (1, 2, 3, 4, 2):
        prompt = make_prompt(project)
        for _ in range(n):
            make_completion(prompt, model=model)
    judges = [make_user(project) for _ in range(50)]
    lot = random.Random(5)
    idle: set[int] = set()
    held: dict[int, Assignment] = {}
    while len(idle) < len(judges):
        user = lot.choice([judge for judge in judges if judge.pk not in idle])
        assignment = held.pop(user.pk, None) or assignments.next_for(project=project, user=user)
        if assignment is None:
            idle.add(user.pk)
        elif lot.random() < 0.2:
            held[user.pk] = assignment  # kept for a while
        elif lot.random() < 0.1:
            assignment_lifecycle.skip(assignment=assignment, by=user, reason="too long for me")
            idle.clear()
        else:
            feedback.submit(assignment=assignment, by=user, **said_of(assignment))
    work = project.assignments.filter(purpose="work", state="submitted")
    per_item = Counter(work.values_list("item", flat=True))
    # 12 answers; pairs 0 + 1 + 3 + 6 + 1; two prompts with three or more; five prompts to answer.
    assert len(per_item) == 12 + 11 + 2 + 5
    assert set(per_item.values()) == {3}
    served = Counter(project.assignments.exclude(purpose="repeat").values_list("user", "item"))
    assert max(served.values()) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("overlap", [1, 3])
def test_a_crowd_at_once_meets_the_overlap_exactly(overlap):
    """Eight people ask, submit and skip at the same time until nothing is left."""
    project = make_project(overlap=overlap, assignment_minutes=30)
    for n in (2, 3):
        prompt = make_prompt(project)
        for _ in range(n):
            make_completion(prompt)
    users = [make_user(project) for _ in range(8)]
    failures = []

    def work(user):
        try:
            while (assignment := assignments.next_for(project=project, user=user)) is not None:
                feedback.submit(assignment=assignment, by=user, **said_of(assignment))
        except Exception as error:  # shown below, in the main thread
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    counts = Counter(project.assignments.values_list("item", flat=True))
    assert len(counts) == 5 + 4
    assert set(counts.values()) == {overlap}


def test_an_excluded_annotation_gives_its_place_back():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    manager, user, other = make_user(project, role="manager"), make_user(project), make_user(project)
    annotate_one(project, user)
    assert assignments.next_for(project=project, user=other) is None
    feedback.set_status(rows=project.ratings.all(), status="excluded", reason="a bot", by=manager)
    assert assignments.next_for(project=project, user=other) is not None


def test_new_answers_are_asked_about_at_once_however_they_came():
    project = make_project(asks_comparisons=False)
    user = make_user(project)
    assert assignments.next_for(project=project, user=user) is None
    prompt = make_prompt(project)
    make_completion(prompt)
    assert annotate_one(project, user) is not None
    model = make_model()
    type(prompt.completions.first()).objects.bulk_create(
        [type(prompt.completions.first())(prompt=prompt, model=model, text="In bulk.")]
    )
    assert annotate_one(project, user).completion_a.text == "In bulk."


def test_what_is_new_can_wait_for_a_while_and_what_is_gone_cannot():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    annotate_one(project, make_user(project))
    user = make_user(project)

    def look() -> Look:
        with transaction.atomic():
            return lock_and_look(project, user)

    assert not look().has_changes
    make_completion(make_prompt(project))
    assert look().has_changes and look().is_plain
    QueueChange.objects.update(can_wait_until=timezone.now())
    assert not look().is_plain, "the background worker has not come"
    QueueChange.objects.all().delete()
    with transaction.atomic():
        retirement.retire(project.prompts.first(), "Broken.", None)
    assert not look().is_plain


def test_changes_of_many_prompts_are_taken_in_in_one_turn(django_assert_max_num_queries):
    """As an import brings them; they are the entries that a recount makes."""
    project = make_project(overlap=2)
    model = make_model()
    prompts = [make_prompt(project) for _ in range(100)]
    Completion.objects.bulk_create(
        Completion(prompt=prompt, model=model, text=f"{prompt.pk} {i}") for prompt in prompts for i in range(2)
    )
    QueueChange.objects.all().delete()
    QueueChange.note(project.pk, [prompt.pk for prompt in prompts])
    with django_assert_max_num_queries(20):
        queue_upkeep.take_in_changes()
    columns = ("prompt", "kind", "language", "items", "level", "level_simulated")
    entries = set(QueueEntry.objects.values_list(*columns))
    assert not QueueChange.objects.exists() and len(entries) == 300
    queue.recount(project)
    assert set(QueueEntry.objects.values_list(*columns)) == entries


def test_a_queue_that_was_lost_is_made_anew_by_the_command():
    project = make_project(asks_comparisons=False)
    make_completion(make_prompt(project))
    user = make_user(project)
    QueueEntry.objects.all().delete()
    QueueChange.objects.all().delete()
    assert assignments.next_for(project=project, user=user) is None
    call_command("recount_queue", project.slug, verbosity=0)
    assert assignments.next_for(project=project, user=user) is not None


def test_the_queue_says_what_the_assignments_say():
    """However it is worked on, each entry is what a recount makes of it."""
    project = make_project(overlap=2, asks_rankings=True)
    for n in (1, 2, 4):
        prompt = make_prompt(project)
        for _ in range(n):
            make_completion(prompt)
    lot = random.Random(1)
    users = [make_user(project) for _ in range(4)]
    for _ in range(30):
        user = lot.choice(users)
        if assignment := assignments.next_for(project=project, user=user):
            if lot.random() < 0.2:
                assignment_lifecycle.skip(assignment=assignment, by=user, reason="no")
            else:
                feedback.submit(assignment=assignment, by=user, **said_of(assignment))
    while queue.take_in(project, ()):
        pass
    columns = ("prompt", "kind", "items", "level", "level_simulated")
    before = set(QueueEntry.objects.values_list(*columns))
    queue.recount(project)
    assert set(QueueEntry.objects.values_list(*columns)) == before


# --- sides ---


@pytest.mark.slow
def test_sides_are_even_for_each_judge_and_each_two_models():
    project = make_project(asks_ratings=False, overlap=20)
    models = [make_model() for _ in range(3)]
    for _ in range(20):
        prompt = make_prompt(project)
        for model in models:
            make_completion(prompt, model=model)
    users = [make_user(project) for _ in range(4)]
    lead: dict[tuple, int] = defaultdict(int)
    lefts, n = 0, 0
    for user in users:
        for _ in range(45):
            a = annotate_one(project, user)
            left, right = a.completion_a.model_id, a.completion_b.model_id
            lead[user.pk, min(left, right), max(left, right)] += 1 if left < right else -1
            lefts, n = lefts + (left < right), n + 1
    assert max(map(abs, lead.values())) <= positions.FARTHEST_LEAD
    # A coin would leave a standard deviation of half the root of n; ours is bounded by the annotators' leads.
    assert abs(lefts - n / 2) <= len(lead) * positions.FARTHEST_LEAD / 2


def test_the_next_side_cannot_be_told_from_the_last():
    """The lot is neither constant nor alternating: of two equal sides both orders follow each other, too."""
    project = make_project()
    user = make_user(project)
    prompt = make_prompt(project)
    a, b = make_completion(prompt), make_completion(prompt)
    lefts = []
    for _ in range(400):
        left, _, count = positions.in_order(project, user, a, b)
        ask(count)
        lefts.append(left == a)
    same = sum(one == other for one, other in itertools.pairwise(lefts))
    # The chain of leads repeats a side with probability 3/8: 150 of 399, with a standard deviation of about 9.
    assert 95 < same < 205
    assert abs(sum(lefts) - 200) <= 1


# --- mirrored repeats ---


def annotate_pairs(project, user, n):
    model_pair = make_model(), make_model()
    for _ in range(n):
        prompt = make_prompt(project)
        for model in model_pair:
            make_completion(prompt, model=model)
    return [annotate_one(project, user, winner="model_a") for _ in range(n)]


def test_a_repeat_swaps_the_sides_of_an_earlier_item_and_fills_no_place():
    project = make_project(asks_ratings=False)
    user, other = make_user(project), make_user(project)
    annotate_pairs(project, user, 12)
    long_ago(user=user)
    project.repeat_percent = 50
    project.save()
    for _ in range(60):
        make_pair(project)
        again = annotate_one(project, user, winner="model_b")
        if again.purpose == "repeat":
            break
    earlier = again.repeats
    assert (again.completion_a, again.completion_b) == (earlier.completion_b, earlier.completion_a)
    assert again.item == earlier.item and earlier.purpose == "work"
    assert not Comparison.objects.teaching().filter(assignment=again).exists()
    assert all(a.item != earlier.item for a in iter(lambda: annotate_one(project, other), None))


@pytest.mark.thorough
@pytest.mark.slow
def test_about_the_share_asked_for_is_repeated_and_each_once():
    project = make_project(asks_ratings=False, repeat_percent=30)
    user = make_user(project)
    for _ in range(260):
        make_pair(project)
    for _ in range(200):
        annotate_one(project, user, winner="model_a")
        long_ago(user=user)
    repeated = project.assignments.filter(purpose="repeat")
    # The first ten cannot be repeats: 190 draws at 0.3, that is 57, three standard deviations of 6.3 either way.
    assert 38 <= repeated.count() <= 76
    assert repeated.count() == repeated.values("item").distinct().count()


@pytest.mark.parametrize("judged, minutes", [(9, 60), (14, 0)])
def test_what_may_still_be_remembered_is_not_repeated(judged, minutes):
    project = make_project(asks_ratings=False)
    user = make_user(project)
    annotate_pairs(project, user, judged)
    if minutes:
        long_ago(user=user)
    assert repeats.draw(project, user) is None


def test_what_does_not_count_is_not_repeated():
    project = make_project(asks_ratings=False)
    user = make_user(project)
    annotate_pairs(project, user, 11)
    long_ago(user=user)
    assert repeats.draw(project, user) is not None
    Comparison.objects.update(status="excluded")
    assert repeats.draw(project, user) is None


# --- what leaves the queue ---


def skip_as(project, user, reason):
    return assignment_lifecycle.skip(
        assignment=assignments.next_for(project=project, user=user), by=user, reason=reason
    )


def test_two_who_find_a_prompt_broken_take_it_out_for_all():
    project = make_project(asks_comparisons=False, overlap=5)
    prompt = make_prompt(project)
    for _ in range(3):
        make_completion(prompt)
    holder, one, two, last = (make_user(project) for _ in range(4))
    held = assignments.next_for(project=project, user=holder)
    skip_as(project, one, quarantine.BROKEN)
    assert assignments.next_for(project=project, user=last) is not None
    skip_as(project, two, quarantine.BROKEN)
    assert assignments.next_for(project=project, user=last) is None
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=held, by=holder, stars=3)
    assert refused.value.status == 409 and "retired" in refused.value.errors["assignment"]
    [complaint] = quarantine.waiting(project)
    assert (complaint.prompt, complaint.skips, complaint.is_out) == (prompt, 2, True)


def test_one_person_who_skips_twice_is_one_complaint():
    project = make_project(asks_comparisons=False)
    prompt = make_prompt(project)
    for _ in range(3):
        make_completion(prompt)
    user = make_user(project)
    for _ in range(3):
        skip_as(project, user, quarantine.BROKEN)
    prompt.refresh_from_db()
    assert prompt.out_since is None


def test_simulations_and_other_reasons_set_nothing_aside():
    project = make_project(asks_comparisons=False, overlap=5)
    prompt = make_prompt(project)
    make_completion(prompt)
    for _ in range(3):
        skip_as(project, make_user(project), "I cannot judge this")
        skip_as(project, make_user(project, is_simulated=True), quarantine.BROKEN)
    prompt.refresh_from_db()
    assert prompt.out_since is None


def test_an_offensive_text_is_no_complaint_where_the_work_is_about_harm():
    project = make_project(asks_comparisons=False, overlap=5)
    prompt = make_prompt(project, harm="violence")
    make_completion(prompt)
    for _ in range(2):
        skip_as(project, ready(make_user(project)), quarantine.OFFENSIVE)
    prompt.refresh_from_db()
    assert prompt.out_since is None


def test_a_reviewer_keeps_a_prompt_and_earlier_complaints_count_no_more():
    project = make_project(asks_comparisons=False, overlap=9)
    prompt = make_prompt(project)
    make_completion(prompt)
    reviewer = make_user(project, role="reviewer")
    for _ in range(2):
        skip_as(project, make_user(project), quarantine.BROKEN)
    prompt.refresh_from_db()
    retirement.decide(prompt=prompt, by=reviewer, take_out=False)
    assert quarantine.waiting(project) == []
    skip_as(project, make_user(project), quarantine.BROKEN)
    assert assignments.next_for(project=project, user=make_user(project)) is not None
    assert project.audit.filter(action="prompt.kept").exists()


def test_a_flag_waits_for_a_reviewer_who_takes_the_prompt_out_for_good():
    project = make_project(asks_comparisons=False)
    prompt = make_prompt(project)
    make_completion(prompt)
    user, reviewer = make_user(project), make_user(project, role="reviewer")
    Flag.objects.create(project=project, prompt=prompt, author=user, judge="person", reason="Personal data in it")
    [complaint] = quarantine.waiting(project)
    assert complaint.flags == ("Personal data in it",) and not complaint.is_out
    with pytest.raises(Refused):
        retirement.decide(prompt=prompt, by=user, take_out=True, reason="no")
    retirement.decide(prompt=prompt, by=reviewer, take_out=True, reason="a name in it")
    assert quarantine.waiting(project) == []
    assert assignments.next_for(project=project, user=user) is None


# --- what would teach most ---


@pytest.fixture
def uncertain():
    """Register what stands for a reward model's uncertainty in this test, in place of what was registered."""
    with ExitStack() as until_the_end:
        yield lambda source: until_the_end.enter_context(priorities.UNCERTAINTY.holding(source))


def test_what_a_model_is_unsure_of_comes_first_most_of_the_time(uncertain, monkeypatch):
    project = make_project(asks_ratings=False)
    pairs = [make_pair(project) for _ in range(12)]
    a, b = pairs[7]
    found = [
        priorities.Uncertain(a.prompt_id, (b.pk, a.pk), priorities.of_probability(0.52), "52 %"),
        priorities.Uncertain(pairs[3][0].prompt_id, (pairs[3][0].pk, pairs[3][1].pk), 0.1, "95 %"),
    ]
    uncertain(lambda asked: found if asked == project else [])
    assert priorities.renew(project) == 2
    monkeypatch.setattr(priorities, "COVERAGE_SHARE", 0.0)
    user = make_user(project)
    assert [annotate_one(project, user).prompt_id for _ in range(2)] == [a.prompt_id, pairs[3][0].prompt_id]
    first = priorities.coming_next(project)[0]
    assert first.why  # whatever is next, it is said why


@pytest.mark.thorough
@pytest.mark.slow
def test_a_fifth_is_always_taken_from_what_is_judged_least(uncertain):
    project = make_project(asks_ratings=False)
    pairs = [make_pair(project) for _ in range(30)]
    uncertain(lambda p: [priorities.Uncertain(a.prompt_id, (a.pk, b.pk), 0.9, "half") for a, b in pairs])
    priorities.renew(project)
    user = make_user(project)
    assignments.next_for(project=project, user=make_user(project))  # the queue knows them
    picks = [priorities.choose_uncertain(project, user, "compare") is None for _ in range(400)]
    assert 50 < sum(picks) < 110  # 80, three standard deviations of 8 either way, and a little


def test_a_priority_never_breaks_the_overlap(uncertain, monkeypatch):
    project = make_project(asks_ratings=False, overlap=2)
    a, b = make_pair(project)
    uncertain(lambda p: [priorities.Uncertain(a.prompt_id, (a.pk, b.pk), 1.0, "half")])
    priorities.renew(project)
    monkeypatch.setattr(priorities, "COVERAGE_SHARE", 0.0)
    served = [annotate_one(project, make_user(project)) for _ in range(4)]
    assert [bool(a) for a in served] == [True, True, False, False]
    make_pair(project)
    annotate_one(project, make_user(project))
    assert not ItemPriority.objects.filter(is_open=True).exists()
