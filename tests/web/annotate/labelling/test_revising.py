"""Changing what one has said, and one's own history with its receipts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling import flagging as flags
from annotate.models import Assignment, Comparison, Delivery, Demonstration, Rating, Span, StatusChange, Webhook
from tests.support.api_client import errors, program
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_pair,
    make_prompt,
    make_rank_assignment,
    make_rating,
    make_scale,
    make_user,
    make_write_assignment,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def rate(project, user):
    return make_assignment(user, make_completion(make_prompt(project), "An answer."))


def said(assignment, user, **fields):
    return feedback.submit(assignment=assignment, by=user, **fields)


def closed_ago(assignment, **ago) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(closed_at=timezone.now() - timedelta(**ago))


def test_a_change_withdraws_the_earlier_rows_and_writes_new_ones(rate, user):
    said(rate, user, stars=2, text="Mine.")
    row = feedback.revise(assignment=rate, by=user, stars=4)
    assert (row.stars, row.status) == (4, "counted")
    assert list(Rating.objects.values_list("stars", "status", "status_reason")) == [
        (2, "withdrawn", "revised"),
        (4, "counted", ""),
    ]
    assert Demonstration.objects.get().status == "withdrawn"
    assert {(c.kind, c.after, c.by) for c in StatusChange.objects.all()} == {
        ("rating", "withdrawn", user),
        ("demonstration", "withdrawn", user),
    }
    rate.refresh_from_db()
    assert rate.state == "submitted"


def test_a_ranking_is_changed_with_its_pairs(project, user):
    prompt = make_prompt(project)
    task = make_rank_assignment(user, *(make_completion(prompt) for _ in range(3)))
    said(task, user, rank=[[pk] for pk in task.shown])
    feedback.revise(assignment=task, by=user, rank=[task.shown])
    assert (
        sorted(Comparison.objects.values_list("status", "winner"))
        == [("counted", "tie")] * 3 + [("withdrawn", "model_a")] * 3
    )


def test_a_change_does_not_lengthen_the_time_for_changes(rate, user):
    said(rate, user, stars=2)
    closed_ago(rate, minutes=20)
    before = Assignment.objects.get().closed_at
    feedback.revise(assignment=rate, by=user, stars=3)
    assert Assignment.objects.get().closed_at == before


@pytest.mark.parametrize("act", ["revise", "undo"])
def test_the_projects_window_decides(project, rate, user, act):
    project.edit_minutes = 5
    project.save()
    said(rate, user, stars=2)
    closed_ago(rate, minutes=6)
    rate.refresh_from_db()
    with pytest.raises(Refused) as refused:
        feedback.revise(assignment=rate, by=user, stars=3) if act == "revise" else feedback.undo(
            assignment=rate, by=user
        )
    assert refused.value.status == 409 and "5 minutes" in refused.value.errors["assignment"]
    assert list(Rating.objects.values_list("stars", "status")) == [(2, "counted")]


def test_what_a_frozen_dataset_holds_is_not_changed(project, rate, user):
    said(rate, user, stars=2)
    freeze(project=project, kind="preferences", name="d", by=make_user(project, role="researcher"))
    with pytest.raises(Refused, match="frozen dataset"):
        feedback.revise(assignment=rate, by=user, stars=3)
    assert Rating.objects.get().status == "counted"


def test_a_wrong_change_leaves_the_earlier_words(rate, user):
    said(rate, user, stars=2)
    with pytest.raises(Refused):
        feedback.revise(assignment=rate, by=user, stars=9)
    assert list(Rating.objects.values_list("stars", "status")) == [(2, "counted")]


def test_what_was_held_stays_held_when_it_is_changed(rate, user):
    row = said(rate, user, stars=2)
    feedback.set_status(rows=[row], status="held", reason="very fast", by=None)
    revised = feedback.revise(assignment=rate, by=user, stars=3)
    assert (revised.status, revised.status_reason) == ("held", "very fast")


def test_undo_does_not_set_free_what_was_held(rate, user):
    row = said(rate, user, stars=2)
    feedback.set_status(rows=[row], status="held", reason="very fast", by=None)
    with pytest.raises(Refused, match="change it instead"):
        feedback.undo(assignment=rate, by=user)
    assert Rating.objects.get().status == "held"


def test_what_a_manager_has_excluded_is_not_brought_back_by_a_change(project, rate, user):
    row = said(rate, user, stars=2)
    feedback.set_status(rows=[row], status="excluded", reason="guessed", by=make_user(project, role="manager"))
    with pytest.raises(Refused, match="excluded"):
        feedback.revise(assignment=rate, by=user, stars=3)
    assert not Rating.objects.counted().exists()


@pytest.mark.parametrize("act", ["revise", "undo"])
def test_a_part_that_a_manager_has_excluded_is_not_brought_back_either(project, rate, user, act):
    row = said(rate, user, stars=2, text="My own words.")
    feedback.set_status(rows=[row], status="excluded", reason="guessed", by=make_user(project, role="manager"))
    more = {"stars": 3} if act == "revise" else {}
    with pytest.raises(Refused, match="excluded"):
        getattr(feedback, act)(assignment=rate, by=user, **more)
    assert not Rating.objects.counted().exists() and Demonstration.objects.get().status == "counted"


def test_what_was_changed_is_not_counted_beside_what_stands_in_its_place(client, project, rate, user):
    said(rate, user, stars=2)
    feedback.revise(assignment=rate, by=user, stars=4)
    earlier, manager = Rating.objects.get(status="withdrawn"), make_user(project, role="manager")
    with pytest.raises(Refused, match="withdrawn"):
        feedback.set_status(rows=[earlier], status="counted", reason="I liked it", by=manager)
    assert [row.stars for row in Rating.objects.counted()] == [4]
    client.force_login(manager)
    votes = reverse("votes", args=[project.slug])
    assert "Change its status" not in client.get(votes, {"kind": "rating", "status": "withdrawn"}).content.decode()


def test_a_manager_who_decides_on_what_is_being_changed_is_refused(project, rate, user):
    seen, manager = said(rate, user, stars=2), make_user(project, role="manager")
    feedback.revise(assignment=rate, by=user, stars=4)  # after the manager's page was read
    with pytest.raises(Refused, match="withdrawn"):
        feedback.set_status(rows=[seen], status="excluded", reason="guessed", by=manager)
    assert list(Rating.objects.order_by("id").values_list("status", flat=True)) == ["withdrawn", "counted"]


def test_nobody_changes_what_others_said(project, rate, user):
    said(rate, user, stars=2)
    with pytest.raises(Refused) as refused:
        feedback.revise(assignment=rate, by=make_user(project), stars=3)
    assert refused.value.status == 403


@pytest.mark.parametrize("state", ["open", "skipped"])
def test_what_was_not_submitted_is_not_changed(rate, user, state):
    if state == "skipped":
        assignment_lifecycle.skip(assignment=rate, by=user, reason="later")
    with pytest.raises(Refused) as refused:
        feedback.revise(assignment=rate, by=user, stars=3)
    assert refused.value.status == 409 and not Rating.objects.exists()


def test_a_change_sent_twice_is_made_once(rate, user):
    said(rate, user, stars=2, idempotency_key="k1")
    first = feedback.revise(assignment=rate, by=user, stars=3, idempotency_key="k2")
    assert feedback.revise(assignment=rate, by=user, stars=3, idempotency_key="k2") == first
    assert Rating.objects.count() == 2


def test_a_written_answer_is_a_demonstration(project, user):
    task = make_write_assignment(user, make_prompt(project))
    with pytest.raises(Refused, match="empty"):
        said(task, user)
    with pytest.raises(Refused, match="asks for an answer"):
        said(task, user, stars=3, text="Mine.")
    row = said(task, user, text="Mine.")
    assert isinstance(row, Demonstration) and (row.text, row.edited_from, row.prompt) == ("Mine.", None, task.prompt)


@pytest.mark.parametrize(("claimed", "kept"), [(20.0, 20.0), (4000.0, 60.0)])
def test_nobody_has_looked_at_an_item_for_longer_than_they_had_it(rate, user, claimed, kept):
    Assignment.objects.update(created_at=timezone.now() - timedelta(seconds=60))
    rate.refresh_from_db()
    assert said(rate, user, stars=2, seconds=claimed).seconds == pytest.approx(kept, abs=2)


def test_a_simulations_made_up_time_stays(project):
    simulated = make_user(project, is_simulated=True)
    task = make_assignment(simulated, make_completion(make_prompt(project)))
    assert said(task, simulated, stars=2, seconds=30.0).seconds == 30.0


def test_submissions_and_changes_are_announced(project, rate, user):
    Webhook.objects.create(project=project, url="https://hook.example/", secret="s")
    row = said(rate, user, stars=2)
    feedback.undo(assignment=rate, by=user)
    sent = list(Delivery.objects.order_by("pk").values_list("event", "body"))
    assert [event for event, _ in sent] == ["judgement.submitted", "judgement.status"]
    assert sent[0][1]["data"]["judgements"] == [{"kind": "rating", "id": row.pk}]
    assert sent[1][1]["data"]["changes"] == [
        {"kind": "rating", "id": row.pk, "before": "counted", "after": "withdrawn"}
    ]


# --- pages ---


def test_the_form_of_a_change_is_filled_with_what_was_said(client, project, user):
    make_scale(project, "aspect", "helpful")
    make_scale(project, "stars", "stars")
    task = make_assignment(user, make_completion(make_prompt(project), "An answer."))
    said(task, user, stars=2, aspects={"helpful": 4}, comment="So so.")
    client.force_login(user)
    address = reverse("annotate-edit", args=[project.slug, task.pk])
    response = client.get(address)
    entered = response.context["entered"]
    assert response.status_code == 200
    assert (entered.stars, entered.aspects, entered.comment) == ("2", {"helpful": "4"}, "So so.")
    assert address in response.content.decode()
    sent = {"stars": "5", "aspect-helpful": "1", "comment": "On second thoughts.", "idempotency_key": "k1"}
    assert client.post(address, sent).status_code == 302
    row = Rating.objects.counted().get()
    assert (row.stars, row.aspects, row.comment) == (5, {"helpful": 1}, "On second thoughts.")


def test_a_ranking_and_spans_go_through_the_form(client, project, user):
    make_scale(project, "span", "wrong")
    prompt = make_prompt(project)
    task = make_rank_assignment(user, *(make_completion(prompt) for _ in range(3)))
    a, b, c = task.shown
    client.force_login(user)
    sent = {
        "assignment": task.pk,
        **{f"rank-{a}": "2", f"rank-{b}": "1", f"rank-{c}": "2"},
        "spans": f'[{{"completion": {a}, "start": 0, "end": 6, "label": "wrong"}}]',
    }
    assert client.post(reverse("annotate", args=[project.slug]), sent).status_code == 302
    task.refresh_from_db()
    assert task.rankings.get().order == [[b], [a, c]]
    assert Span.objects.get().text == "Answer"
    entered = client.get(reverse("annotate-edit", args=[project.slug, task.pk])).context["entered"]
    assert entered.ranks == {b: "1", a: "2", c: "2"}
    assert '"label": "wrong"' in entered.spans


@pytest.mark.parametrize("place", ["0", "4", "first", "-1", "1.5"])
def test_a_wrong_place_is_refused_and_what_was_entered_stays(client, project, user, place):
    prompt = make_prompt(project)
    task = make_rank_assignment(user, *(make_completion(prompt) for _ in range(3)))
    a, b, c = task.shown
    client.force_login(user)
    sent = {"assignment": task.pk, f"rank-{a}": place, f"rank-{b}": "1", f"rank-{c}": "2", "comment": "Hard."}
    response = client.post(reverse("annotate", args=[project.slug]), sent)
    assert response.status_code == 400
    assert response.context["entered"].ranks == {a: place, b: "1", c: "2"}
    assert "rank" in response.context["entered"].errors and "Hard." in response.content.decode()


@pytest.mark.parametrize("spans", ["{", "7", "[" * 100_000])
def test_broken_spans_are_refused(client, project, user, rate, spans):
    make_scale(project, "span", "wrong")
    client.force_login(user)
    sent = {"assignment": rate.pk, "stars": "3", "spans": spans}
    assert client.post(reverse("annotate", args=[project.slug]), sent).status_code == 400
    assert not Rating.objects.exists()


def test_what_cannot_be_changed_any_more_says_why(client, project, user, rate):
    said(rate, user, stars=2)
    closed_ago(rate, minutes=31)
    client.force_login(user)
    response = client.get(reverse("annotate-edit", args=[project.slug, rate.pk]))
    assert response.status_code == 409 and "30 minutes" in response.content.decode()
    client.force_login(make_user(project))
    assert client.get(reverse("annotate-edit", args=[project.slug, rate.pk])).status_code == 403


def everything_said(project, user) -> None:
    """One of each kind, and a withdrawn one."""
    make_scale(project, "span", "wrong")
    rate = make_assignment(user, make_completion(make_prompt(project, "To rate")))
    spans = [{"completion": rate.completion_a_id, "start": 0, "end": 6, "label": "wrong"}]
    said(rate, user, thumbs=True, stars=4, spans=spans, text="A better one.", edited_from=rate.completion_a)
    flags.flag(assignment=rate, by=user, reason="Off topic")
    compare = make_assignment(user, *make_pair(project))
    said(compare, user, winner="model_b", strength=3)
    prompt = make_prompt(project)
    rank = make_rank_assignment(user, *(make_completion(prompt) for _ in range(3)))
    said(rank, user, rank=[rank.shown[1:], rank.shown[:1]])
    undone = make_assignment(user, make_completion(make_prompt(project)))
    said(undone, user, stars=1)
    feedback.undo(assignment=undone, by=user)


def test_ones_own_history_shows_each_annotation_once_with_its_receipt(client, project, user):
    everything_said(project, user)
    make_rating(make_completion(make_prompt(project, "Somebody else's")), stars=5)
    client.force_login(user)
    page = client.get(reverse("annotate-history", args=[project.slug]))
    told = [(r.kind, r.words, r.row.status) for r in page.context["receipts"]]
    assert told == [
        ("rating", "1 of 5 stars", "withdrawn"),
        ("ranking", "B = C > A", "counted"),
        ("comparison", "B is better, by far", "counted"),
        ("flag", "The prompt: Off topic", "counted"),
        ("span", "wrong: “Answer”", "counted"),
        ("demonstration", "An edited answer", "counted"),
        ("rating", "thumb up, 4 of 5 stars", "counted"),
    ]
    ranking, comparison = (r for r in page.context["receipts"] if r.kind in ("ranking", "comparison"))
    assert [answer.letter for answer in ranking.answers] == ["A", "B", "C"]
    assert (comparison.answers[1].letter, comparison.answers[1].text) == ("B", comparison.row.completion_b.text)
    chosen = {"model_a": [True, False], "model_b": [False, True]}.get(comparison.row.winner, [False, False])
    assert [answer.is_chosen for answer in comparison.answers] == chosen
    text = page.content.decode()
    assert "Somebody else" not in text and "undo" in text and "Change it" in text


def test_ones_own_history_names_no_model_and_no_purpose(client, project, user):
    everything_said(project, user)
    Assignment.objects.filter(kind="rate").update(purpose="gold")
    client.force_login(user)
    for text in (
        client.get(reverse("annotate-history", args=[project.slug])).content.decode(),
        program_of(user).get(f"projects/{project.slug}/judgements/mine/").content.decode(),
    ):
        assert "gold" not in text
        for row in project.comparisons.all():
            assert row.completion_a.model.name not in text


def test_ones_history_offers_no_change_of_a_lesson(client, project, user, rate):
    said(rate, user, stars=2)
    Assignment.objects.update(purpose="tutorial")
    client.force_login(user)
    assert "Change it" not in client.get(reverse("annotate-history", args=[project.slug])).content.decode()
    [row] = program_of(user).get(f"projects/{project.slug}/judgements/mine/").json()["results"]
    assert row["may_change"] is False


def program_of(user):
    from tests.support.api_client import Program

    return Program(user)


def test_history_is_filtered_by_kind_and_status(client, project, user):
    everything_said(project, user)
    client.force_login(user)

    def kinds(**asked):
        page = client.get(reverse("annotate-history", args=[project.slug]), asked)
        return [receipt.kind for receipt in page.context["receipts"]]

    assert kinds(kind="comparison") == ["comparison"]
    assert kinds(status="withdrawn") == ["rating"]
    assert kinds(kind="ranking", status="withdrawn") == []
    assert len(kinds(kind="nonsense", status="nonsense")) == 7


def test_a_receipt_leads_to_what_the_annotation_went_into(client, project, user):
    everything_said(project, user)
    dataset = freeze(project=project, kind="preferences", name="spring", by=make_user(project, role="researcher"))
    client.force_login(user)
    page = client.get(reverse("annotate-history", args=[project.slug]), {"status": "counted"})
    into = {r.kind: [d for d, _, _ in r.went] for r in page.context["receipts"]}
    assert into == {
        "rating": [dataset],
        "comparison": [dataset],
        "ranking": [dataset],
        "demonstration": [dataset],
        "span": [dataset],
        "flag": [],
    }


def test_a_long_history_has_pages_and_few_queries(client, project, user, django_assert_max_num_queries):
    for _ in range(30):
        task = make_assignment(user, make_completion(make_prompt(project)))
        said(task, user, stars=3)
    client.force_login(user)
    with django_assert_max_num_queries(16):
        first = client.get(reverse("annotate-history", args=[project.slug]))
    assert len(first.context["receipts"]) == 25
    assert len(client.get(reverse("annotate-history", args=[project.slug]), {"page": 2}).context["receipts"]) == 5


def test_an_empty_history_says_where_to_begin(client, project, user):
    client.force_login(user)
    assert "Start annotating" in client.get(reverse("annotate-history", args=[project.slug])).content.decode()


# --- the API ---


def test_a_receipt_brings_the_next_task(project):
    annotator = program(project)
    for _ in range(2):
        make_completion(make_prompt(project))
    first = annotator.post(f"projects/{project.slug}/assignments/", {"kind": "rate"}).json()
    answer = annotator.post(f"assignments/{first['id']}/submit/?next=1", {"stars": 3}).json()
    assert answer["counted"] and answer["next"]["id"] != first["id"]
    assert answer["next"]["prompt"]["messages"] and answer["next"]["completions"]
    last = annotator.post(f"assignments/{answer['next']['id']}/submit/?next=1", {"stars": 3}).json()
    assert last["counted"] and last["next"] is None


def test_a_submission_stands_where_no_next_task_is_given(project, monkeypatch):
    annotator = program(project)
    task = make_assignment(annotator.user, make_completion(make_prompt(project)))

    def refuse(**_):
        raise Refused(409, guidelines="Read them first.")

    monkeypatch.setattr(assignments, "next_for", refuse)
    answer = annotator.post(f"assignments/{task.pk}/submit/?next=1", {"stars": 3})
    assert answer.status_code == 201
    assert answer.json()["next"] is None and answer.json()["next_errors"] == {"guidelines": "Read them first."}
    assert Rating.objects.count() == 1


def test_a_task_carries_its_scales_and_all_turns(project):
    make_scale(project, "aspect", "helpful", definition="Does it help?", low="not at all", high="wholly")
    make_scale(project, "span", "wrong")
    annotator = program(project)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Why is the sky blue?"},
    ]
    task = make_assignment(annotator.user, make_completion(make_prompt(project, messages=turns)))
    seen = annotator.get(f"assignments/{task.pk}/").json()
    assert seen["prompt"]["messages"] == turns
    assert [(scale["kind"], scale["name"]) for scale in seen["scales"]] == [("aspect", "helpful"), ("span", "wrong")]
    assert seen["scales"][0]["definition"] == "Does it help?"


def test_programs_rank_and_change_their_ranking(project):
    annotator = program(project)
    prompt = make_prompt(project)
    task = make_rank_assignment(annotator.user, *(make_completion(prompt) for _ in range(3)))
    shown = [c["id"] for c in annotator.get(f"assignments/{task.pk}/").json()["completions"]]
    assert shown == task.shown
    address = f"assignments/{task.pk}/submit/"
    assert "rank" in errors(annotator.post(address, {"rank": [[shown[0]]]}), 400)
    assert "rank" in errors(annotator.post(address, {"rank": "best"}), 400)
    made = annotator.post(address, {"rank": [[shown[0]], shown[1:]]})
    assert made.status_code == 201 and made.json()["kind"] == "ranking"
    changed = annotator.put(address, {"rank": [shown]}, key="change-1")
    assert changed.status_code == 200 and changed.json()["id"] != made.json()["id"]
    assert annotator.put(address, {"rank": [shown]}, key="change-1").json() == changed.json()
    listed = annotator.get("rankings/", project=project.slug).json()["results"]
    assert [(row["order"], row["status"]) for row in listed] == [
        ([[shown[0]], shown[1:]], "withdrawn"),
        ([shown], "counted"),
    ]
    assert {row["ranking"] for row in annotator.get("comparisons/").json()["results"]} == {row["id"] for row in listed}


def test_my_annotations_are_the_histories_twin(project):
    annotator = program(project)
    everything_said(project, annotator.user)
    mine = annotator.get(f"projects/{project.slug}/judgements/mine/").json()
    assert mine["count"] == 7 and mine["pages"] == 1
    assert mine["results"][1]["said"] == "B = C > A" and mine["results"][1]["may_change"] is True
    assert mine["results"][0]["may_change"] is False and mine["results"][0]["status_reason"] == "undo"
    only = annotator.get(f"projects/{project.slug}/judgements/mine/", kind="comparison").json()
    assert [row["kind"] for row in only["results"]] == ["comparison"]
    assert "kind" in errors(annotator.get(f"projects/{project.slug}/judgements/mine/", kind="x"), 400)
    assert program(project).get(f"projects/{project.slug}/judgements/mine/").json()["count"] == 0
    assert program().get(f"projects/{project.slug}/judgements/mine/").status_code == 403
