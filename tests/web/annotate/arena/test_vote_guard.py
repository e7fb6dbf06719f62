"""Votes at the door of the arena: what is held and why, what is refused for a while, what is kept of addresses."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from annotate.arena.battles import votes as battle_votes
from annotate.arena.vote_guard import actions as vote_guard
from annotate.arena.vote_guard import duplicates
from annotate.core import counting, visitors
from annotate.core.errors import Refused, TooMany
from annotate.labelling.actions import set_status
from annotate.models import Battle, Comparison, Hold, StatusChange, TryCount, User, VoteTrace
from tests.support import factories
from tests.support.annotate.voting import HERE, ME, cast, make_battle, vote

pytestmark = pytest.mark.django_db


# What is held


def test_an_ordinary_vote_counts_and_leaves_where_it_came_from(project, pair):
    vote = cast(make_battle(project, pair))
    assert (vote.status, vote.status_reason) == ("counted", "")
    trace = VoteTrace.objects.get(battle=vote.battle)
    assert (trace.project, trace.address, trace.held_for, trace.held_at) == (project, HERE, "", None)


def test_a_vote_in_a_battle_where_a_model_named_itself_is_held_with_that_reason(project, pair):
    vote = cast(make_battle(project, pair, hold_reason="a model named itself in its answer"))
    assert vote.status == "held" and vote.status_reason == "a model named itself in its answer"
    assert vote.battle.trace.held_for == Hold.NAMED and vote.battle.trace.held_at
    assert battle_votes.counting(vote).words == "Not counted: this vote is held: a model named itself in its answer."


@pytest.mark.parametrize("turned", [False, True])
def test_the_second_vote_on_a_question_and_two_models_is_held_whichever_way_round(project, pair, turned):
    first = cast(make_battle(project, pair))
    second = cast(make_battle(project, pair[::-1] if turned else pair, prompt=first.prompt))
    assert first.status == "counted" and second.status == "held"
    assert "voted on this question" in second.status_reason and second.battle.trace.held_for == Hold.REPEAT


def test_other_people_other_models_and_other_questions_are_no_repetition(project, pair):
    first = cast(make_battle(project, pair))
    others = [
        make_battle(project, pair, prompt=first.prompt, visitor="w" * 64),
        make_battle(project, [pair[0], factories.make_model()], prompt=first.prompt),
        make_battle(project, pair),
        make_battle(project, pair, prompt=first.prompt, user=factories.make_user(project)),
    ]
    assert [cast(battle, address="").status for battle in others] == ["counted"] * 4


def test_members_repeat_themselves_like_everybody(project, pair):
    member = factories.make_user(project)
    first = cast(make_battle(project, pair, user=member))
    assert cast(make_battle(project, pair, prompt=first.prompt, user=member)).status == "held"


def test_simulations_are_kept_apart_and_held_for_nothing(project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_PERSON", 0)
    bot = factories.make_user(project, is_simulated=True)
    first = cast(make_battle(project, pair, user=bot))
    assert cast(make_battle(project, pair, prompt=first.prompt, user=bot)).status == first.status == "counted"


def test_many_votes_of_one_visitor_are_held_and_too_many_refused_with_the_time_to_wait(project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_PERSON", 2)
    monkeypatch.setattr(vote_guard, "MOST_PER_PERSON", 3)
    votes = [cast(make_battle(project, pair)) for _ in range(3)]
    assert [vote.status for vote in votes] == ["counted", "counted", "held"]
    assert votes[2].status_reason == "you sent many votes in a short time"
    fourth = make_battle(project, pair)
    with pytest.raises(TooMany) as refused:
        cast(fourth)
    assert refused.value.status == 429 and 0 < refused.value.retry_after <= visitors.WINDOW_SECONDS
    assert "Nothing is lost" in refused.value.errors["arena"]
    assert not Comparison.objects.filter(battle=fourth).exists() and battle_votes.issue_token(fourth)


def test_many_votes_from_one_address_are_held_whoever_casts_them(project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_ADDRESS", 1)
    votes = [cast(make_battle(project, pair, visitor=str(n) * 64)) for n in range(3)]
    assert [vote.status for vote in votes] == ["counted", "held", "held"]
    assert "others may share it" in votes[1].status_reason
    assert cast(make_battle(project, pair), address="b" * 32).status == "counted"


def test_members_share_an_office_and_are_never_refused(project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_ADDRESS", 0)
    monkeypatch.setattr(vote_guard, "MOST_PER_PERSON", 0)
    member = factories.make_user(project)
    assert cast(make_battle(project, pair, user=member)).status == "counted"


def test_the_window_ends_and_votes_count_again(project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_PERSON", 0)
    assert cast(make_battle(project, pair)).status == "held"
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_PERSON", 1)
    TryCount.objects.update(since=timezone.now() - timedelta(seconds=visitors.WINDOW_SECONDS + 1))
    assert cast(make_battle(project, pair)).status == "counted"


def test_the_same_request_again_is_the_same_vote_and_counts_no_second_try(project, pair):
    battle = make_battle(project, pair)
    first = cast(battle, idempotency_key="once")
    again = vote(battle=battle, winner="model_a", token="", visitor=ME, idempotency_key="once")
    assert again == first and VoteTrace.objects.count() == 1
    assert counting.counted(f"votes:visitor:{ME}", seconds=60) == 1


# One question and two models


def test_one_question_asked_from_many_sessions_has_one_vote_on_two_models(project, pair):
    """Whoever knows how the models answer it would otherwise have one for each session."""
    asked = make_battle(project, pair, is_drawn=False, visitor="first")
    assert cast(asked, address="1").status == "counted"
    again = [make_battle(project, pair[::n], asked.prompt, is_drawn=False, visitor=f"{n}") for n in (1, -1)]
    votes = [cast(battle, address=f"far {n}") for n, battle in enumerate(again)]
    assert [vote.battle.trace.held_for for vote in votes] == [Hold.SAME_ITEM] * 2
    assert "many votes" not in votes[0].status_reason, "it is the second one"
    others = [pair[0], factories.make_model()]
    assert cast(make_battle(project, others, asked.prompt, is_drawn=False, visitor="x")).status == "counted"
    assert cast(make_battle(project, pair, is_drawn=False, visitor="x")).status == "counted"
    member = factories.make_user(project)
    battle = make_battle(project, pair, asked.prompt, is_drawn=False, user=member)
    assert cast(battle).status == "counted"


def test_an_address_that_votes_on_one_pair_of_answers_again_and_again_is_held(project, pair):
    prompts = [factories.make_prompt(project, side="eval") for _ in range(20)]
    for n, prompt in enumerate(prompts * 3):
        cast(make_battle(project, pair, prompt=prompt, visitor=f"other {n}"), address=f"{n}")
    votes = [cast(make_battle(project, pair, prompt=prompts[0], visitor=f"mine {n}")) for n in range(8)]
    assert [vote.status for vote in votes[:3]] == ["counted"] * 3
    assert votes[-1].status == "held" and votes[-1].battle.trace.held_for == Hold.SAME_ITEM


@pytest.mark.thorough
def test_a_class_that_meets_few_pairs_is_not_held_for_it(project, pair):
    prompts = [factories.make_prompt(project, side="eval") for _ in range(4)]
    for n in range(40):
        cast(make_battle(project, pair, prompt=prompts[n % 4], visitor=f"other {n}"), address=f"{n}")
    votes = [cast(make_battle(project, pair, prompt=prompts[n % 4], visitor=f"pupil {n}")) for n in range(40)]
    assert {vote.status for vote in votes} == {"counted"}


def test_the_tail_is_never_below_the_true_one():
    from math import comb

    for seen, votes, share in ((4, 10, 0.1), (8, 8, 0.05), (30, 100, 0.2), (5, 500, 0.001)):
        true = sum(comb(votes, k) * share**k * (1 - share) ** (votes - k) for k in range(seen, votes + 1))
        assert true <= duplicates.tail(seen, votes, share) < 40 * true
    assert duplicates.tail(1, 10, 0.5) == 1 and duplicates.tail(3, 3, 0.0) == 0


# Held and released later


def test_what_is_found_later_is_held_and_released_with_a_line_in_the_ledger(project, pair):
    vote = cast(make_battle(project, pair))
    assert vote_guard.hold(rows=[vote], kind=Hold.PATTERN) == 1
    vote.refresh_from_db()
    assert vote.status == "held" and "more than preferences explain" in vote.status_reason
    assert vote_guard.release(rows=[vote]) == 1
    vote.refresh_from_db()
    assert vote.status == "counted" and vote.status_reason.startswith("Counted again")
    lines = StatusChange.objects.filter(feedback_id=vote.pk).order_by("id")
    assert [(line.before, line.after, line.by) for line in lines] == [
        ("counted", "held", None),
        ("held", "counted", None),
    ]


def test_what_a_person_has_decided_the_software_leaves_alone(project, pair):
    manager = factories.make_user(project, role="manager")
    vote = cast(make_battle(project, pair))
    set_status(rows=[vote], status="held", reason="Let me look.", by=manager)
    set_status(rows=[vote], status="counted", reason="It is fine.", by=manager)
    assert vote_guard.hold(rows=[vote], kind=Hold.PATTERN) == 0
    vote.refresh_from_db()
    assert (vote.status, vote.status_reason) == ("counted", "It is fine.")


def test_a_vote_older_than_traces_is_held_as_well(project, pair):
    vote = cast(make_battle(project, pair))
    VoteTrace.objects.all().delete()
    vote_guard.hold(rows=[vote], kind=Hold.ALIKE)
    assert VoteTrace.objects.get(battle=vote.battle).held_for == Hold.ALIKE


def test_every_reason_has_words_that_fit_and_accuse_nobody():
    for hold in Hold:
        said = vote_guard.describe_hold(hold)
        assert 10 < len(said) <= 200 and not said.endswith(".")
        assert not any(word in said.lower() for word in ("rigged", "cheat", "fraud", "bot", "suspicious", "abuse"))


# Addresses


def network(settings, proxies: tuple[str, ...] = (), **meta) -> str:
    settings.TRUSTED_PROXIES = proxies
    return visitors.network_of(RequestFactory().get("/", **meta))


def test_a_forwarded_header_is_believed_only_of_proxies_that_a_setting_names(settings):
    forged = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.7"}
    assert network(settings, **forged) == "10.0.0.1"
    assert network(settings, ("10.0.0.1",), **forged) == "203.0.113.7"
    chain = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.7, 10.0.0.9"}
    assert network(settings, ("10.0.0.1", "10.0.0.9"), **chain) == "203.0.113.7"
    assert network(settings, ("10.0.0.1",), REMOTE_ADDR="192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]:4711", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_address_is_a_household_and_not_a_machine_of_it(settings, given, found):
    assert network(settings, REMOTE_ADDR=given) == found


def test_of_an_address_a_keyed_hash_is_kept_and_not_for_ever(settings, client, project, pair):
    request = RequestFactory().get("/", REMOTE_ADDR="203.0.113.7")
    hashed = visitors.address_of(request)
    assert len(hashed) == 32 and "203.0" not in hashed and hashed == visitors.address_of(request)
    settings.SECRET_KEY = "another"
    assert visitors.address_of(request) != hashed
    old, new = (cast(make_battle(project, pair)).battle.trace for _ in range(2))
    VoteTrace.objects.filter(pk=old.pk).update(cast_at=timezone.now() - timedelta(days=11))
    assert vote_guard.forget_addresses() == 0
    settings.VOTE_ADDRESS_DAYS = 10
    assert vote_guard.forget_addresses() == 1
    old.refresh_from_db(), new.refresh_from_db()
    assert (old.address, new.address) == ("", HERE)


def test_no_table_holds_an_address_in_clear(project, pair):
    battle = make_battle(project, pair, visitor="")
    client = Client(REMOTE_ADDR="203.0.113.77")
    client.get(reverse("arena", args=[project.slug]))
    session = client.session
    session.create()
    client.cookies["sessionid"] = session.session_key
    Battle.objects.filter(pk=battle.pk).update(visitor=visitors.visitor_of_session(session))
    battle.refresh_from_db()
    sent = {"winner": "tie", "token": battle_votes.issue_token(battle)}
    response = client.post(reverse("arena-vote", args=[project.slug, battle.token]), sent, REMOTE_ADDR="203.0.113.77")
    assert response.status_code == 302
    assert VoteTrace.objects.get(battle=battle).address == visitors.address_of(
        RequestFactory().get("/", REMOTE_ADDR="203.0.113.77")
    )
    for table in (TryCount, VoteTrace, Battle, Comparison):
        assert "203.0.113" not in str(list(table.objects.values()))


# What the visitor is told


def test_page_and_api_refuse_too_many_votes_with_retry_after(client, project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "MOST_PER_PERSON", 0)
    member_of_nothing = factories.make_user()
    client.force_login(member_of_nothing)
    battle = make_battle(project, pair, user=member_of_nothing)
    sent = {"winner": "tie", "token": battle_votes.issue_token(battle)}
    page = client.post(reverse("arena-vote", args=[project.slug, battle.token]), sent)
    api = client.post(f"/api/v1/battles/{battle.token}/vote/", sent, content_type="application/json")
    for response in (page, api):
        assert response.status_code == 429 and 0 < int(response["Retry-After"]) <= visitors.WINDOW_SECONDS
    assert "Nothing is lost" in api.json()["errors"]["arena"]


def test_history_says_why_a_vote_is_held(client, project, pair):
    user = factories.make_user(project)
    client.force_login(user)
    cast(make_battle(project, pair, user=user, hold_reason="a model named itself in its answer"))
    page = client.get(reverse("arena-history", args=[project.slug])).content.decode()
    assert "held" in page and "a model named itself in its answer" in page


# Counting


def test_counts_are_in_the_database_and_forgotten_after_days(db):
    assert [counting.count("k", seconds=60) for _ in range(3)] == [1, 2, 3]
    assert counting.counted("k", seconds=60) == 3 and 0 < counting.remaining("k", seconds=60) <= 60
    assert counting.counted("nothing", seconds=60) == 0 and counting.remaining("nothing", seconds=60) == 0
    assert counting.forget() == 0
    TryCount.objects.update(since=timezone.now() - timedelta(days=3))
    assert counting.counted("k", seconds=60) == 0 and counting.forget() == 1


def test_battles_are_bounded_by_the_hashed_address(project, monkeypatch):
    monkeypatch.setattr(visitors, "BATTLES_PER_ADDRESS", 1)
    request = RequestFactory().get("/", REMOTE_ADDR="2001:db8::1")
    request.user, request.session = User(), Client().session
    visitors.throttle_battles(request, visitor="one")
    request.META["REMOTE_ADDR"] = "2001:db8::2"  # the same /64
    with pytest.raises(Refused):
        visitors.throttle_battles(request, visitor="two")


# Who is judged by the address


@pytest.mark.thorough
def test_a_class_that_meets_a_new_model_is_not_compared_with_days_that_had_none(project, pair):
    prompts = [factories.make_prompt(project, side="eval") for _ in range(4)]
    for n in range(60):
        cast(make_battle(project, pair, prompt=prompts[n % 4], visitor=f"other {n}"), address=f"{n}")
    VoteTrace.objects.update(cast_at=timezone.now() - timedelta(days=1))
    for prompt in prompts:
        prompt.created_at = timezone.now() - timedelta(days=9)
        prompt.save()
    new = [pair[0], factories.make_contestant(project).model]
    votes = [cast(make_battle(project, new, prompt=prompts[n % 4], visitor=f"pupil {n}")) for n in range(40)]
    assert {vote.status for vote in votes} == {"counted"}


def test_simulations_and_members_leave_no_address_and_so_are_no_flood(project, pair):
    for user in (factories.make_user(is_simulated=True), factories.make_user(project)):
        assert cast(make_battle(project, pair, user=user)).battle.trace.address == ""


def test_whoever_has_signed_up_alone_is_bounded_like_a_visitor(project, pair, monkeypatch):
    monkeypatch.setattr(vote_guard, "HELD_ABOVE_PER_ADDRESS", 0)
    project.open_sign_up = True
    project.save()
    newcomer, reviewer = factories.make_user(project), factories.make_user(project, role="reviewer")
    assert cast(make_battle(project, pair, user=newcomer)).status == "held"
    assert cast(make_battle(project, pair, user=reviewer)).status == "counted"
