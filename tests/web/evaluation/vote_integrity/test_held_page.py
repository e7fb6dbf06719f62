"""Held votes for managers: the rate, the list, decisions in bulk, warnings; and the background worker's look as a
whole."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.arena.vote_guard import actions as vote_guard
from annotate.core.counting import count
from annotate.models import Comparison, Delivery, HeldWatch, Hold, StatusChange, VoteTrace, Webhook
from evaluation.models import Notice
from evaluation.vote_integrity import detection, hold_rate
from evaluation.vote_integrity import held_votes as held_for_review
from tests.support import factories
from tests.support.annotate.voting import cast, make_battle

pytestmark = pytest.mark.django_db


def votes(project, pair, count: int, **fields) -> list[Comparison]:
    return [cast(make_battle(project, pair, visitor=f"{n:064}", **fields), address=f"{n}") for n in range(count)]


def page(client, project, **asked) -> str:
    response = client.get(reverse("held-votes", args=[project.slug]), asked)
    assert response.status_code == 200
    return response.content.decode()


def decide(client, project, **sent):
    return client.post(reverse("decide-held-votes", args=[project.slug]), sent)


# Who may


def test_managers_alone_see_and_decide(client, project, pair):
    vote = votes(project, pair, 1, hold_reason="a model named itself")[0]
    sent = {"vote": vote.pk, "status": "counted", "reason": "x"}
    api = f"/api/v1/projects/{project.slug}/"
    for role in ("annotator", "reviewer", "researcher"):
        client.force_login(factories.make_user(project, role=role))
        assert client.get(reverse("held-votes", args=[project.slug])).status_code == 403
        assert decide(client, project, **sent).status_code == 403
        assert client.get(api + "held-rate/").status_code == client.get(api + "held-votes/").status_code == 403
        body = {"ids": [vote.pk], "status": "counted", "reason": "x"}
        assert client.post(api + "held-votes/", body, content_type="application/json").status_code == 403
    vote.refresh_from_db()
    assert vote.status == "held"


# The page


def test_the_page_shows_rate_reasons_and_votes(client, project, pair, manager):
    client.force_login(manager)
    votes(project, pair, 3)
    votes(project, pair, 2, hold_reason="a model named itself in its answer")
    text = page(client, project)
    assert "a model named itself in its answer" in text and "40.0 %" in text and "<svg" in text
    assert text.count('name="vote"') == 2
    assert 'name="vote"' not in page(client, project, reason=Hold.REPEAT)
    assert "40.0 %" in page(client, project, by="hour")


def test_the_page_is_empty_in_words(client, project, manager):
    client.force_login(manager)
    text = page(client, project)
    assert "No held votes" in text and "No arena votes in the last" in text


def test_an_unknown_filter_leads_back(client, project, manager):
    client.force_login(manager)
    assert client.get(reverse("held-votes", args=[project.slug]), {"by": "year"}).status_code == 302
    assert client.get(reverse("held-votes", args=[project.slug]), {"reason": "because"}).status_code == 302


def test_chosen_votes_are_released_and_the_rest_waits(client, project, pair, manager):
    client.force_login(manager)
    first, second = votes(project, pair, 2, hold_reason="a model named itself")
    answer = decide(client, project, vote=first.pk, status="counted", reason="It named another model.")
    assert answer.status_code == 302
    first.refresh_from_db(), second.refresh_from_db()
    assert (first.status, first.status_reason, second.status) == ("counted", "It named another model.", "held")
    assert StatusChange.objects.get(feedback_id=first.pk).by == manager


def test_all_of_one_reason_are_excluded_at_once(client, project, pair, manager):
    client.force_login(manager)
    named = votes(project, pair, 3, hold_reason="a model named itself")
    other = votes(project, pair, 1)[0]
    vote_guard.hold(rows=[other], kind=Hold.PATTERN)
    answer = decide(client, project, held_for=Hold.NAMED, all="1", status="excluded", reason="All of them.")
    assert answer["Location"].endswith("?reason=named")
    assert {Comparison.objects.get(pk=vote.pk).status for vote in named} == {"excluded"}
    assert Comparison.objects.get(pk=other.pk).status == "held"


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ({"status": "withdrawn", "reason": "x"}, 400, "release or exclude a held vote"),
        ({"status": "counted", "reason": " "}, 400, "Enter a reason"),
        ({"status": "counted", "reason": "x", "vote": "999999"}, 409, "Choose held votes"),
        ({"status": "counted", "reason": "x", "held_for": "because"}, 400, "is not a reason"),
    ],
)
def test_a_bad_decision_is_refused_in_words_and_changes_nothing(client, project, pair, manager, sent, status, field):
    client.force_login(manager)
    vote = votes(project, pair, 1, hold_reason="a model named itself")[0]
    answer = decide(client, project, **{"vote": vote.pk, **sent})
    assert answer.status_code == status and field in answer.content.decode()
    vote.refresh_from_db()
    assert vote.status == "held"


def test_too_many_at_once_are_refused(client, project, pair, manager, monkeypatch):
    monkeypatch.setattr(held_for_review, "MOST_AT_ONCE", 2)
    client.force_login(manager)
    votes(project, pair, 3, hold_reason="a model named itself")
    answer = decide(client, project, held_for=Hold.NAMED, all="1", status="counted", reason="x")
    assert answer.status_code == 413 and not Comparison.objects.filter(status="counted").exists()


# The API


def test_the_api_does_what_the_page_does(client, project, pair, manager):
    client.force_login(manager)
    ids = [vote.pk for vote in votes(project, pair, 3, hold_reason="a model named itself")]
    api = f"/api/v1/projects/{project.slug}/"
    rate = client.get(api + "held-rate/?by=hour").json()
    assert [(row["votes"], row["held"], row["waiting"], row["reasons"]) for row in rate] == [(3, 3, 3, {"named": 3})]
    listed = client.get(api + "held-votes/?held_for=named").json()
    assert [row["id"] for row in listed] == ids[::-1] and listed[0]["held_for"] == "named"
    assert [row["id"] for row in client.get(f"{api}held-votes/?before={ids[1]}").json()] == [ids[0]]
    body = {"ids": ids[:1], "status": "counted", "reason": "Fine."}
    assert client.post(api + "held-votes/", body, content_type="application/json").json() == {"changed": 1}
    rest = {"held_for": "named", "status": "excluded", "reason": "Not fine."}
    assert client.post(api + "held-votes/", rest, content_type="application/json").json() == {"changed": 2}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "counted", "reason": "x"}, "ids"),
        ({"ids": [1], "held_for": "named", "status": "counted", "reason": "x"}, "ids"),
        ({"ids": [1], "status": "held", "reason": "x"}, "status"),
        ({"ids": ["one"], "status": "counted", "reason": "x"}, "ids"),
    ],
)
def test_the_api_names_the_field_that_is_wrong(client, project, manager, body, field):
    client.force_login(manager)
    answer = client.post(f"/api/v1/projects/{project.slug}/held-votes/", body, content_type="application/json")
    assert answer.status_code == 400 and any(name.startswith(field) for name in answer.json()["errors"])
    for wrong in ("held-rate/?by=year", "held-votes/?held_for=because", "held-votes/?before=x"):
        assert client.get(f"/api/v1/projects/{project.slug}/{wrong}").status_code == 400


# Warnings


def test_a_jump_of_the_held_rate_warns_managers_once_and_tells_webhooks(project, pair, manager):
    Webhook.objects.create(project=project, url="https://example.org/hook", secret="whsec_eA==", created_by=manager)
    votes(project, pair, 15)
    assert not hold_rate.look(project) and not Notice.objects.exists()
    votes(project, pair, 15, hold_reason="a model named itself")
    assert hold_rate.look(project)
    notice = Notice.objects.get()
    assert notice.user == manager and "15 of 30" in notice.text and notice.url == f"/p/{project.slug}/held/"
    delivery = Delivery.objects.get(event="arena.held_rate")
    assert delivery.body["data"]["held"] == 15
    votes(project, pair, 15, hold_reason="a model named itself")
    assert not hold_rate.look(project), "not again on the same day"
    HeldWatch.objects.update(told_at=timezone.now() - timedelta(days=2))
    votes(project, pair, 15, hold_reason="a model named itself")
    assert hold_rate.look(project)


def test_what_was_usual_for_a_fortnight_is_no_news(project, pair, manager):
    old = [vote.battle_id for vote in votes(project, pair, 20, hold_reason="a model named itself")]
    VoteTrace.objects.filter(battle__in=old).update(cast_at=timezone.now() - timedelta(days=3))
    VoteTrace.objects.bulk_create(
        VoteTrace(
            battle=make_battle(project, pair),
            project=project,
            held_for=Hold.NAMED,
            cast_at=timezone.now() - timedelta(days=3),
        )
        for _ in range(60)
    )
    assert hold_rate.usual_now(project) > 0.3
    HeldWatch.objects.create(project=project, last_trace_id=VoteTrace.objects.latest("pk").pk)
    votes(project, pair, 6, hold_reason="a model named itself")
    votes(project, pair, 12)
    assert not hold_rate.look(project)


def test_a_puzzle_that_cannot_be_given_warns_managers(project, manager):
    count(vote_guard.outage_key(project), seconds=60)
    assert hold_rate.look(project) and not hold_rate.look(project)
    assert "puzzle does not work" in Notice.objects.get().text


# The background worker


def test_the_background_worker_looks_when_votes_have_come_and_rests_when_none_has(project, pair, monkeypatch):
    looks = []
    real = detection.look
    monkeypatch.setattr(detection, "look", lambda project: looks.append(project) or real(project))
    votes(project, pair, 2)
    for _ in range(3):
        detection.periodic_task()
    assert looks == [project]
    votes(project, pair, 1)
    detection.periodic_task()
    assert looks == [project, project]


def test_trouble_in_one_project_is_not_anothers(project, pair, monkeypatch, caplog):
    other = factories.make_project()
    votes(project, pair, 1), votes(other, pair, 1)
    looked = []

    def look(which):
        looked.append(which)
        if which == project:
            raise ArithmeticError("no fit")
        return detection.HoldChanges({}, [])

    monkeypatch.setattr(detection, "look", look)
    detection.periodic_task()
    assert set(looked) == {project, other} and "could not be looked at" in caplog.text


def test_many_held_at_once_are_told(project, pair, manager):
    hold_rate.warn_of_holds(project, {Hold.PATTERN: list(range(5))})
    assert not Notice.objects.exists()
    hold_rate.warn_of_holds(project, {Hold.PATTERN: list(range(30)), Hold.FLOOD: [99]})
    assert "31 votes that counted before are held now" in Notice.objects.get().text


def test_a_flood_of_one_address_is_held_and_ebbs(project, pair):
    past = [make_battle(project, pair) for _ in range(1_050)]
    now = timezone.now()
    VoteTrace.objects.bulk_create(
        VoteTrace(battle=battle, project=project, address=f"{n % 500}", cast_at=now - timedelta(days=2, seconds=61 * n))
        for n, battle in enumerate(past)
    )
    flood = [cast(make_battle(project, pair, visitor=f"{n:064}"), address="one") for n in range(30)]
    found = detection.look(project)
    assert len(found.held[Hold.FLOOD]) == 11  # from the twentieth on
    assert Comparison.objects.filter(pk__in=[vote.pk for vote in flood], status="held").count() == 11
    VoteTrace.objects.filter(battle__in=past).update(cast_at=now - timedelta(days=2), address="a class")
    assert len(detection.look(project).released) == 11, "a class of the day before was as large"


def test_only_managers_are_told_of_what_only_they_may_see(project, manager):
    factories.make_user(project, role="researcher")
    hold_rate.warn_of_holds(project, {Hold.PATTERN: list(range(30))})
    assert [notice.user for notice in Notice.objects.all()] == [manager]


def test_two_background_workers_hold_once_and_tell_once(project, pair, manager, monkeypatch):
    ids = [vote.pk for vote in votes(project, pair, 30)]
    monkeypatch.setattr(detection, "changes", lambda votes: ({Hold.PATTERN: ids}, []))
    for _ in range(2):  # the second one had read the votes before the first one wrote
        detection.look(project)
    assert Notice.objects.count() == 1 and StatusChange.objects.count() == 30


def test_what_is_decided_by_people_is_asked_for_once_and_not_for_each_vote(
    project, pair, django_assert_max_num_queries
):
    rows = votes(project, pair, 40)
    with django_assert_max_num_queries(40 * 3 + 20):
        vote_guard.hold(rows=rows, kind=Hold.PATTERN)


def test_the_leaderboards_counts_say_what_the_ledger_says_through_holds_and_releases(project, pair, manager):
    from evaluation.leaderboard.recount import differences

    kept = votes(project, pair, 6)
    at_the_door = votes(project, pair, 3, hold_reason="a model named itself in its answer")
    assert not differences()
    vote_guard.hold(rows=kept[:4], kind=Hold.PATTERN)
    assert not differences()
    vote_guard.release(rows=Comparison.objects.filter(pk__in=[vote.pk for vote in kept[:2]]))
    held_for_review.decide(
        project=project, rows=held_for_review.held_votes(project), status="counted", reason="I asked them.", by=manager
    )
    assert not differences() and {vote.battle.trace.held_for for vote in at_the_door} == {Hold.NAMED}
    assert Comparison.objects.filter(status="counted").count() == 9


@pytest.mark.parametrize("kind", [Hold.PATTERN, Hold.ADDRESS_PATTERN])
def test_whoever_is_held_for_how_they_rank_teaches_nothing_meanwhile(project, pair, manager, monkeypatch, kind):
    def both(visitor: str, address: str) -> list[Comparison]:
        prompts = [factories.make_prompt(project, side=side) for side in ("eval", "train")]
        return [cast(make_battle(project, pair, prompt=p, visitor=visitor), address=address) for p in prompts]

    def teaching() -> set[int]:
        return set(Comparison.objects.teaching().filter(prompt__side="train").values_list("pk", flat=True))

    ranks, teaches = both("r" * 64, "r" * 32)
    other = both("o" * 64, "o" * 32)[1]
    monkeypatch.setattr(detection, "changes", lambda votes: ({kind: [ranks.pk]}, []))
    assert detection.look(project).held == {kind: [ranks.pk, teaches.pk]} and teaching() == {other.pk}
    monkeypatch.setattr(detection, "changes", lambda votes: ({}, []))
    assert not detection.look(project).released
    rows = held_for_review.held_votes(project).filter(pk=ranks.pk)
    held_for_review.decide(project=project, rows=rows, status="excluded", reason="No.", by=manager)
    assert not detection.look(project).released and teaching() == {other.pk}
    vote_guard.set_status(rows=[ranks], status="counted", reason="After all.", by=manager)
    assert detection.look(project).released == [teaches.pk] and teaching() == {other.pk, teaches.pk}


def test_simulated_votes_are_no_part_of_the_held_rate(project, pair):
    robot = factories.make_user(project, is_simulated=True)
    for battle in (make_battle(project, pair, user=robot), make_battle(project, pair)):
        cast(battle)
    assert [period.votes for period in held_for_review.held_rate(project, "day")] == [1]
    hold_rate.look(project)
    assert HeldWatch.objects.get().last_trace_id == VoteTrace.objects.of_people().get().pk
