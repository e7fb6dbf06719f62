"""The puzzle: worth one vote, here, for a while; and whatever breaks, the vote is held and not lost."""

from __future__ import annotations

import hashlib

import pytest

from annotate.arena.battles import votes
from annotate.arena.vote_guard import actions as vote_guard
from annotate.arena.vote_guard import proof_of_work
from annotate.core.counting import counted
from annotate.models import Comparison, Hold, Project
from tests.support import factories
from tests.support.annotate.voting import HERE, cast, make_battle

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def easy(monkeypatch) -> None:
    monkeypatch.setattr(proof_of_work, "FEWEST_BITS", 6)


@pytest.fixture
def project() -> Project:
    return factories.make_project(proof_of_work=True)


def challenge(battle) -> str:
    return vote_guard.puzzle(battle, user=battle.user, address=HERE)


def test_a_solved_puzzle_lets_a_vote_count(project, pair):
    battle = make_battle(project, pair)
    proof = proof_of_work.solve(challenge(battle))
    assert hashlib.sha256(proof.encode()).digest()[0] < 4  # six zero bits
    assert cast(battle, proof=proof).status == "counted"


def test_a_vote_without_it_is_held_with_the_reason(project, pair):
    vote = cast(make_battle(project, pair))
    assert vote.status == "held" and vote.battle.trace.held_for == Hold.UNSOLVED
    assert "without the solution of the small puzzle" in votes.counting(vote).words


def test_a_proof_is_worth_nothing_in_another_battle(project, pair):
    first, second = make_battle(project, pair), make_battle(project, pair)
    proof = proof_of_work.solve(challenge(first))
    assert cast(first, proof=proof).status == "counted"
    assert cast(second, proof=proof).status == "held"


def test_a_proof_is_spent_with_the_vote_of_its_battle(project, pair):
    battle = make_battle(project, pair)
    proof = proof_of_work.solve(challenge(battle))
    cast(battle, proof=proof)
    with pytest.raises(Exception, match="already voted in this battle"):
        cast(battle, proof=proof)
    assert Comparison.objects.count() == 1


def test_easier_longer_or_forged_puzzles_are_seen_through(project, pair):
    battle = str(make_battle(project, pair).token)
    issue = proof_of_work.issue(battle)
    version, bits, expires, salt, signature = issue.split(".")
    for forged in (
        ".".join([version, "0", expires, salt, signature]),
        ".".join([version, bits, str(int(expires) + 10**6), salt, signature]),
        ".".join([version, bits, expires, "00", signature]),
        ".".join([version, bits, expires, salt, "0" * 40]),
    ):
        assert not proof_of_work.is_solved(proof_of_work.solve(forged), battle)
    solved = proof_of_work.solve(issue)
    assert proof_of_work.is_solved(solved, battle)
    assert not proof_of_work.is_solved(solved, battle, now=int(expires) + 1)
    wrong = next(f"{issue}.{n}" for n in range(100) if _zero_bits(f"{issue}.{n}") < 6)
    assert not proof_of_work.is_solved(wrong, battle)


def _zero_bits(text: str) -> int:
    return proof_of_work.zero_bits(hashlib.sha256(text.encode()).digest())


@pytest.mark.parametrize("junk", ["", "1", "....." * 3, "1.x.y.z.s.n", "1.6.9.a.b.²", "é" * 400, "\x00.1.2.3.4.5"])
def test_any_text_is_answered(project, pair, junk):
    assert proof_of_work.is_solved(junk, "battle") is False


def test_an_account_of_ones_own_does_not_skip_the_puzzle(project, pair, client):
    """Anybody makes one where sign-up is open, and joins an open project by themselves."""
    nobody_let_in = factories.make_user()
    battle = make_battle(project, pair, user=nobody_let_in)
    assert cast(battle).status == "held"
    open_one = factories.make_project(proof_of_work=True, open_sign_up=True)
    joined = make_battle(open_one, pair, user=factories.make_user(open_one))
    assert challenge(joined) and cast(joined).status == "held"
    reviewer = make_battle(open_one, pair, user=factories.make_user(open_one, role="reviewer"))
    assert challenge(reviewer) is None and cast(reviewer).status == "counted"
    simulated = make_battle(project, pair, user=factories.make_user(is_simulated=True))
    assert challenge(simulated) is None
    solved = make_battle(open_one, pair, user=factories.make_user(open_one))
    assert cast(solved, proof=proof_of_work.solve(challenge(solved))).status == "counted"


def test_the_page_of_such_an_account_carries_the_puzzle(client, project, pair):
    user = factories.make_user()
    client.force_login(user)
    battle = make_battle(project, pair, user=user)
    page = client.get(f"/p/{project.slug}/arena/{battle.token}/").content.decode()
    assert page.count('name="proof"') == 1 and "proof.js" in page
    member = factories.make_user(project)
    client.force_login(member)
    battle = make_battle(project, pair, user=member)
    assert 'name="proof"' not in client.get(f"/p/{project.slug}/arena/{battle.token}/").content.decode()


def test_people_whom_somebody_let_in_and_projects_without_it_solve_nothing(project, pair):
    member, plain = factories.make_user(project), factories.make_project()
    for battle in (make_battle(project, pair, user=member), make_battle(plain, pair)):
        assert challenge(battle) is None and cast(battle).status == "counted"


def test_it_gets_harder_while_many_are_asked_for(project, pair, monkeypatch):
    monkeypatch.setattr(proof_of_work, "USUAL_PER_ADDRESS", 2)
    bits = [int(proof_of_work.issue(f"battle {n}", address=HERE).split(".")[1]) for n in range(16)]
    assert bits == sorted(bits) and bits[0] == 6 and bits[-1] == 9
    assert int(proof_of_work.issue("another", address="other").split(".")[1]) == 6
    monkeypatch.setattr(proof_of_work, "USUAL_A_MINUTE", 2)
    monkeypatch.setattr(proof_of_work, "MOST_BITS", 8)
    assert int(proof_of_work.issue("a third", address="third").split(".")[1]) == 8


def test_a_puzzle_that_cannot_be_given_stops_no_vote_and_is_noted(project, pair, monkeypatch):
    def broken(*_, **__):
        raise OSError("the clock is gone")

    monkeypatch.setattr(proof_of_work, "_signature", broken)
    battle = make_battle(project, pair)
    assert challenge(battle) is None
    vote = cast(battle, proof="1.6.99999999999.a.b.3")
    assert vote.status == "held" and vote.battle.trace.held_for == Hold.PUZZLE_BROKEN
    assert "our fault" in vote.status_reason
    assert counted(vote_guard.outage_key(project), seconds=60) == 2


def test_page_and_api_give_the_puzzle_to_whoever_has_the_battle(client, project, pair):
    battle = make_battle(project, pair)
    assert client.get(f"/p/{project.slug}/arena/{battle.token}/proof/").status_code == 404
    assert client.get(f"/api/v1/battles/{battle.token}/proof/").status_code == 404
    token = "t" * 24
    from annotate.core.api.lookup import visitor_of_token

    mine = make_battle(project, pair, visitor=visitor_of_token(token))
    challenge = client.get(f"/api/v1/battles/{mine.token}/proof/", headers={"Visitor": token}).json()["challenge"]
    sent = {"winner": "model_b", "token": votes.issue_token(mine), "proof": proof_of_work.solve(challenge)}
    answer = client.post(
        f"/api/v1/battles/{mine.token}/vote/", sent, content_type="application/json", headers={"Visitor": token}
    )
    assert answer.status_code == 201 and answer.json()["counted"] is True


def test_whoever_asks_for_one_puzzle_again_and_again_makes_it_harder_for_nobody(project, pair, monkeypatch):
    monkeypatch.setattr(proof_of_work, "USUAL_A_MINUTE", 2)
    monkeypatch.setattr(proof_of_work, "USUAL_PER_ADDRESS", 2)
    mine, other = make_battle(project, pair), make_battle(project, pair)
    for _ in range(40):
        challenge(mine)
    assert challenge(other).split(".")[1] == "6"
    for _ in range(40):
        last = challenge(make_battle(project, pair))
    assert int(last.split(".")[1]) > 8


def test_odd_letters_in_a_proof_are_no_fault_of_ours(project, pair):
    battle = str(make_battle(project, pair).token)
    issue = proof_of_work.issue(battle)
    for odd in ("\ud800", "٣", "é"):
        assert not proof_of_work.is_solved(f"{issue}{odd}.1", battle)


def test_the_page_carries_one_puzzle(client, project, pair):
    from annotate.core import visitors

    session = client.session
    session.create()
    client.cookies["sessionid"] = session.session_key
    battle = make_battle(project, pair, visitor=visitors.visitor_of_session(session))
    page = client.get(f"/p/{project.slug}/arena/{battle.token}/").content.decode()
    assert page.count('name="proof"') == 1
