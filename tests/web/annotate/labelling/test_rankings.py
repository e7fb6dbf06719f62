"""A ranking of three to six answers: one annotation, stored with its pairs, which never part from it."""

from __future__ import annotations

import pytest

from annotate.core.errors import Refused
from annotate.data import frozen_rows, rankings
from annotate.data.datasets import best_answers, preferences
from annotate.data.datasets.actions import freeze
from annotate.data.datasets.selected_rows import _weighted_comparisons
from annotate.labelling import actions as feedback
from annotate.models import Comparison, Ranking, StatusChange
from evaluation.registry.ancestry import judgements_in, totals
from evaluation.registry.tracing import votes_in
from tests.support.factories import (
    make_completion,
    make_model,
    make_project,
    make_prompt,
    make_rank_assignment,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project(asks_rankings=True)


def to_rank(project, user, count: int = 4):
    prompt, model = make_prompt(project), make_model()
    made = [make_completion(prompt, model=model) for _ in range(count)]
    return make_rank_assignment(user, *reversed(made))


def ranked(project, user, count: int = 4) -> Ranking:
    task = to_rank(project, user, count)
    return feedback.submit(assignment=task, by=user, rank=[[pk] for pk in task.shown])


def statuses() -> set[str]:
    tables = (Ranking, Comparison)
    return {status for table in tables for status in table.objects.values_list("status", flat=True)}


def test_the_pairs_say_what_the_groups_say_in_the_order_shown():
    pairs = rankings.pairs([[3], [1, 2]], shown=[1, 2, 3])
    assert [(p.completion_a, p.completion_b, p.winner) for p in pairs] == [
        (1, 2, "tie"),
        (1, 3, "model_b"),
        (2, 3, "model_b"),
    ]


@pytest.mark.parametrize("places", [{7: 1, 8: 1, 9: 3}, {7: 1, 8: 1, 9: 2}])
def test_places_with_and_without_gaps_are_the_same_groups(places):
    assert rankings.groups(places) == [[7, 8], [9]]


@pytest.mark.parametrize("count", [3, 6])
def test_a_ranking_is_stored_with_all_its_pairs(project, user, count):
    ranking = ranked(project, user, count)
    assert isinstance(ranking, Ranking)
    task = ranking.assignment
    assert ranking.order == [[pk] for pk in task.shown]
    pairs = list(ranking.pairs.all())
    assert len(pairs) == count * (count - 1) // 2
    assert {pair.winner for pair in pairs} == {"model_a"}
    assert all(task.shown.index(p.completion_a_id) < task.shown.index(p.completion_b_id) for p in pairs)
    assert {(p.author, p.assignment, p.judge, p.project) for p in pairs} == {(user, task, "person", project)}


def test_time_and_comment_stand_once(project, user):
    task = to_rank(project, user)
    ranking = feedback.submit(
        assignment=task, by=user, rank=[task.shown], comment="All alike.", seconds=0.0, idempotency_key="k1"
    )
    assert (ranking.comment, ranking.seconds, ranking.idempotency_key) == ("All alike.", 0.0, "k1")
    pairs = ranking.pairs.order_by().values_list("winner", "comment", "seconds", "idempotency_key").distinct()
    assert list(pairs) == [("tie", "", None, None)]
    assert feedback.submit(assignment=task, by=user, rank=[task.shown], idempotency_key="k1") == ranking
    assert Ranking.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda s: [[s[0]], [s[1]]], "have no place"),
        (lambda s: [[s[0]], [s[0]], s[1:]], "two places"),
        (lambda s: [[s[0]], [10**9], s[1:]], "not among the answers"),
        (lambda s: s, "groups"),
        (lambda s: [[], s], "groups"),
        (lambda s: [["1"], s], "a value that is not an id"),
        (lambda s: [[True], s], "a value that is not an id"),
        (lambda s: "abc", "groups"),
        (lambda s: None, "Give each answer a place"),
    ],
)
def test_a_wrong_ranking_is_refused_and_nothing_is_written(project, user, wrong, told):
    task = to_rank(project, user, 3)
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=task, by=user, rank=wrong(task.shown))
    assert list(refused.value.errors) == ["rank"] and told in refused.value.errors["rank"]
    task.refresh_from_db()
    assert task.state == "open" and not Ranking.objects.exists() and not Comparison.objects.exists()


@pytest.mark.parametrize("said", [{"winner": "model_a"}, {"stars": 3}, {"thumbs": True}])
def test_what_belongs_to_other_items_is_refused(project, user, said):
    task = to_rank(project, user)
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=task, by=user, rank=[task.shown], **said)
    assert "rank" in refused.value.errors[next(iter(said))]


def test_undo_takes_the_pairs_along(project, user):
    task = ranked(project, user).assignment
    feedback.undo(assignment=task, by=user)
    assert statuses() == {"withdrawn"}
    assert StatusChange.objects.filter(after="withdrawn").count() == 1 + 6
    task.refresh_from_db()
    assert task.state == "open"


@pytest.mark.parametrize("status", ["held", "excluded"])
def test_the_pairs_change_status_with_their_ranking(project, user, manager, status):
    ranking = ranked(project, user)
    assert feedback.set_status(rows=[ranking], status=status, reason="looked at", by=manager) == 1 + 6
    assert statuses() == {status}
    feedback.set_status(rows=[ranking], status="counted", reason="it is right", by=manager)
    assert statuses() == {"counted"}


def test_a_pair_alone_cannot_be_changed(project, user, manager):
    ranking = ranked(project, user)
    with pytest.raises(Refused) as refused:
        feedback.set_status(rows=[ranking.pairs.first()], status="excluded", reason="this one", by=manager)
    assert f"ranking {ranking.pk}" in refused.value.errors["comparison"]
    assert statuses() == {"counted"}


def test_a_ranking_named_with_its_pairs_changes_each_once(project, user, manager):
    ranking = ranked(project, user, 3)
    rows = [*ranking.pairs.all(), ranking]
    assert feedback.set_status(rows=rows, status="excluded", reason="spam", by=manager) == 4
    assert StatusChange.objects.count() == 4


def test_an_excluded_ranking_gives_its_place_back(project, user, manager):
    ranking = ranked(project, user)
    feedback.set_status(rows=[ranking], status="excluded", reason="guessed", by=manager)
    ranking.assignment.refresh_from_db()
    assert ranking.assignment.state == "excluded"


def test_in_a_dataset_the_pairs_weigh_as_one_annotation(project, user):
    ranking = ranked(project, user, 4)
    dataset = freeze(project=project, kind="preferences", name="d", by=make_user(project, role="researcher"))
    assert dataset.counts["rankings"] == 1 and dataset.counts["comparisons"] == 0
    assert list(dataset.rankings.all()) == [ranking] and dataset.comparisons.count() == 6
    frozen = list(frozen_rows.read(dataset.path, "comparisons"))
    assert [row["weight"] for row in frozen] == pytest.approx([1 / 6] * 6)
    assert sum(row["weight"] for row in frozen) == pytest.approx(1)


def test_instruction_data_lead_back_to_the_ranking(project, user):
    ranking = ranked(project, user, 4)
    researcher = make_user(project, role="researcher")
    dataset = freeze(project=project, kind="sft", name="best", by=researcher, minimum=0.7)
    assert dataset.counts["examples"] == 1
    assert list(dataset.rankings.all()) == [ranking] and dataset.comparisons.count() == 3


def test_a_lineage_counts_a_ranking_once(project, user):
    ranked(project, user, 4)
    dataset = freeze(project=project, kind="preferences", name="d", by=make_user(project, role="researcher"))
    assert [(held.kind, held.total, held.judges) for held in votes_in(dataset)] == [("rankings", 1, 1)]
    assert [held.in_words for held in judgements_in([dataset])] == ["1 ranking by 1 person"]
    assert totals([dataset])[dataset.pk] == 1


def test_what_is_in_a_frozen_dataset_is_not_undone(project, user):
    ranking = ranked(project, user)
    freeze(project=project, kind="preferences", name="d", by=make_user(project, role="researcher"))
    with pytest.raises(Refused, match="frozen dataset"):
        feedback.undo(assignment=ranking.assignment, by=user)
    assert statuses() == {"counted"}


def test_a_ranking_says_of_each_answer_what_one_annotation_says(project, user):
    """For instruction data: the best of four has won three pairs, and was judged once."""
    ranking = ranked(project, user, 4)
    rows = _weighted_comparisons(Comparison.objects.all())
    judged = best_answers.answers_from(preferences.comparisons_from(rows), [])
    best, worst = (judged[ranking.order[place][0]] for place in (0, -1))
    assert best.judgements == worst.judgements == 1
    assert best.score == pytest.approx(0.75) and worst.score == pytest.approx(0.25)
