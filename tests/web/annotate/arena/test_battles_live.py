"""A battle in motion: votes in mid-stream, stops, further turns, masked names, tokens; across processes, too."""

# ruff: noqa: F811 - fixtures of another module

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import timedelta

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from annotate.arena.battles import actions as arena
from annotate.arena.battles import follow_up, votes
from annotate.arena.streaming import answer_writer, heartbeat, live_battles, onlookers
from annotate.core.errors import Refused
from annotate.models import Battle, BattleTurn, Comparison, Completion
from config.asgi import application
from tests.support import factories
from tests.support.annotate import voting
from tests.web.annotate.arena.test_streaming import NAMES, Visit, models, visit  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)
LONG = [piece for n in range(200) for piece in (f"word{n} ", 0.02)]


async def until_begun(visit: Visit):
    """The frames up to the one that lets a vote be cast, the socket still open, and the token."""
    socket, frames = await visit.open(), ""
    while not (match := re.search(r'name="token" value="(\w+)"', frames)):
        frames += (await socket.receive_output(timeout=10))["text"]
    return socket, frames, match[1]


async def browse(visit: Visit, what: str = "", **data: str) -> httpx.Response:
    """As a browser does it, through the whole server: there each request has a thread of its own."""
    slug = (await Battle.objects.select_related("project").aget(pk=visit.battle.pk)).project.slug
    cookies = {name: morsel.value for name, morsel in visit.client.cookies.items()} | {"csrftoken": "c" * 32}
    transport, address = httpx.ASGITransport(app=application), f"/p/{slug}/arena/{visit.battle.token}/"
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", cookies=cookies) as client:
        if not what:
            return await client.get(address)
        return await client.post(f"{address}{what}/", data=data, headers={"X-CSRFToken": "c" * 32})


async def post(visit: Visit, what: str, **data: str) -> httpx.Response:
    return await browse(visit, what, **data)


async def page_of(visit: Visit) -> str:
    return (await browse(visit)).text


# Votes in mid-stream


async def test_a_vote_in_mid_stream_ends_both_answers_and_keeps_what_was_shown(visit, fake):
    fake.answer = lambda body: LONG
    socket, _, token = await until_begun(visit)
    seen = await sync_to_async(live_battles.look)(visit.battle)
    reply = await post(visit, "vote", winner="model_a", token=token, comment="  plainer ")
    assert reply.status_code == 302
    await socket.leave()
    vote = await Comparison.objects.select_related("completion_a", "completion_b").aget()
    assert (vote.winner, vote.comment) == ("model_a", "plainer")
    for completion, side in zip((vote.completion_a, vote.completion_b), seen.sides, strict=True):
        assert completion.finish_reason == "stopped" and completion.source == "arena"
        assert completion.text.startswith(side.text) and len(completion.text) < 700
    battle = await visit.fresh()
    assert (battle.completion_a_id, battle.claim) == (vote.completion_a_id, None)
    page = await page_of(visit)
    assert all(name in page for name in NAMES) and 'id="choices"' not in page
    assert vote.completion_a.text.strip().split()[-1] in page


async def test_a_vote_stops_nothing_when_it_is_no_good(visit, fake):
    fake.answer = lambda body: LONG
    socket, _, token = await until_begun(visit)
    assert (await post(visit, "vote", winner="nobody", token=token)).status_code == 400
    assert (await post(visit, "vote", winner="tie", token="0" * 64)).status_code == 403
    assert (await post(visit, "vote", winner="tie")).status_code == 400
    assert (await visit.fresh()).stop_asked_at is None and answer_writer.here(visit.battle.pk)
    await post(visit, "stop")
    await socket.leave()
    assert not await Comparison.objects.acount()


async def test_a_vote_reaches_the_writer_in_another_process(visit, fake, monkeypatch):
    """The writer here is what another process would be: nobody nudges it, it finds the wish in the database."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(answer_writer, "nudge", lambda pk: None)
    monkeypatch.setattr(onlookers, "POLL_SECONDS", 0.05)
    fake.answer = lambda body: LONG
    socket, _, token = await until_begun(visit)
    elsewhere, here = dict(answer_writer._here), answer_writer._here
    monkeypatch.setattr(answer_writer, "_here", {})
    reply = await post(visit, "vote", winner="tie", token=token)
    assert reply.status_code == 302
    vote = await Comparison.objects.select_related("completion_a").aget()
    assert vote.completion_a.finish_reason == "stopped"
    await asyncio.gather(*(battle.task for battle in elsewhere.values()))
    here.clear()
    await socket.leave()


async def test_a_vote_after_the_writer_was_killed_is_on_what_was_seen_last(visit, fake, monkeypatch):
    await Battle.objects.aupdate(
        draft_a="The sea comes and goes", draft_b="Because of the moon", claim=uuid.uuid4(),
        claimed_until=timezone.now() - timedelta(seconds=1),
    )  # fmt: skip
    token = await sync_to_async(votes.issue_token)(visit.battle)
    assert (await post(visit, "vote", winner="model_b", token=token)).status_code == 302
    vote = await Comparison.objects.select_related("completion_a", "completion_b").aget()
    assert (vote.completion_a.text, vote.completion_b.text) == ("The sea comes and ", "Because of the moon")
    assert not fake.requests


async def test_another_process_shows_how_far_the_answers_are(visit, monkeypatch):
    monkeypatch.setattr(onlookers, "POLL_SECONDS", 0.05)
    await Battle.objects.aupdate(
        draft_a="The sea comes and goes", draft_b="It is the moon who pulls", claim=uuid.uuid4(),
        claimed_until=timezone.now() + timedelta(seconds=60),
    )  # fmt: skip
    socket, frames, token = await until_begun(visit)
    assert "The sea comes and" in frames and token
    await Battle.objects.aupdate(
        draft_a="The sea comes and goes with it", draft_b="It is the moon who pulls at the sea"
    )
    assert "The sea comes and goes with" in (await socket.receive_output(timeout=10))["text"]
    await socket.leave()


async def test_all_who_look_on_at_another_process_look_at_once_and_write_nothing(visit, monkeypatch):
    """Five hundred pages with a look each, which first tried to take the battle, kept those who judge waiting."""
    monkeypatch.setattr(onlookers, "POLL_SECONDS", 0.1)
    await Battle.objects.aupdate(claim=uuid.uuid4(), claimed_until=timezone.now() + timedelta(seconds=60))
    looks, statements, look = [], [], onlookers._marks

    def counted(battle_ids):
        looks.append(len(battle_ids))
        return look(battle_ids)

    def noted(execute, sql, *rest):
        statements.append(sql)
        return execute(sql, *rest)

    def claim(*arguments, take=answer_writer._claim):
        with connection.execute_wrapper(noted):
            return take(*arguments)

    monkeypatch.setattr(onlookers, "_marks", counted)
    monkeypatch.setattr(answer_writer, "_claim", claim)
    sockets = [await visit.open() for _ in range(4)]
    await asyncio.sleep(1)
    assert 4 <= len(looks) <= 4 + 11  # one of each page that opens, then one for all
    assert statements and not any("UPDATE" in statement for statement in statements)
    for socket in sockets:
        await socket.leave()


# Stops


async def test_a_stop_ends_both_and_lets_one_vote_or_ask_on(visit, fake):
    fake.answer = lambda body: LONG
    socket, _, token = await until_begun(visit)
    await post(visit, "stop")
    frames = []
    while (message := await socket.receive_output(timeout=5))["type"] != "websocket.close":
        frames.append(message["text"])
    assert "Both answers are finished" in frames[-1] and "Stopped here." in "".join(frames)
    assert [c.finish_reason for c in await visit.completions()] == ["stopped", "stopped"]
    assert (await post(visit, "vote", winner="tie", token=token)).status_code == 302


async def test_a_stop_before_both_have_begun_spoils_the_battle(visit, fake):
    fake.answer = lambda body: [3.0, "Late."]
    socket = await visit.open()
    await asyncio.sleep(0.3)
    await post(visit, "stop")
    battle = await visit.fresh()
    assert battle.spoilt_reason == answer_writer.TOO_EARLY and battle.vote_token_hash == ""
    assert not await visit.completions()
    await socket.leave()


# One side's failure


@pytest.mark.parametrize("bad", [0, 1])
async def test_both_sides_are_told_alike_when_one_fails_in_the_middle(visit, fake, models, bad):
    name = models[bad].server_name
    fake.answer = lambda body: (
        ["A few words first. ", 0.3, b'data: {"error": "boom"}\n\n'] if body["model"] == name else LONG
    )
    frames = await visit.watch()
    battle = await visit.fresh()
    assert battle.spoilt_reason == answer_writer.ONE_FAILED and not await visit.completions()
    last = {letter: [f for f in frames if f'id="text-{letter}"' in f][-1] for letter in "ab"}
    assert all("boom" not in frame and "alert" not in frame for frame in last.values())
    assert frames[-1].count(answer_writer.ONE_FAILED) == 1
    with pytest.raises(Refused) as refused:
        await sync_to_async(live_battles.vote)(
            battle=battle, ballot=votes.Ballot(winner="tie", token="x", visitor=battle.visitor)
        )
    assert refused.value.status == 409 and await sync_to_async(votes.issue_token)(battle) == ""


async def test_a_prompt_that_is_too_long_for_one_model_does_not_count(visit, fake, models):
    fake.status, fake.error = 400, "maximum context length is 2048 tokens"
    frames = await visit.watch()
    assert "shorter" in frames[-1] and "2048" not in "".join(frames)
    assert (await visit.fresh()).spoilt_reason


# Further turns


async def test_each_side_goes_on_with_its_own_conversation(visit, fake, models):
    fake.answer = lambda body: [f"{len(body['messages'])} turns, says {body['model'][-3:]}."]
    await visit.watch()
    reply = await post(visit, "turn", text=" And then? ", number="2")
    assert reply.status_code == 302
    frames = await visit.watch()
    assert "Both answers are finished" in frames[-1]
    turn = await BattleTurn.objects.select_related("prompt_a", "prompt_b", "completion_a", "completion_b").aget()
    for prompt, completion in ((turn.prompt_a, turn.completion_a), (turn.prompt_b, turn.completion_b)):
        assert [m["role"] for m in prompt.messages] == ["user", "assistant", "user"]
        assert prompt.messages[1]["content"].startswith("1 turns, says") and prompt.text == "And then?"
        assert completion.text.startswith("3 turns, says") and completion.prompt_id == prompt.pk
    assert turn.prompt_a_id != turn.prompt_b_id and turn.completion_a.text != turn.completion_b.text
    sent = [r for r in fake.requests if len(r["messages"]) == 3]
    assert {r["model"]: r["messages"][1]["content"][-4:-1] for r in sent} == {
        model.server_name: model.server_name[-3:] for model in models
    }


async def test_a_turn_that_was_sent_twice_is_one_turn(visit):
    await visit.watch()
    for _ in range(2):
        assert (await post(visit, "turn", text="And then?", number="2")).status_code == 302
    assert await BattleTurn.objects.acount() == 1
    await visit.watch()


async def test_a_turn_that_fails_is_left_out_and_the_vote_stands_on_what_came_before(visit, fake):
    fake.answer = lambda body: [f"So says {body['model'][-3:]}."]
    await visit.watch()
    first = await visit.fresh()
    fake.status = 500
    await post(visit, "turn", text="And then?", number="2")
    frames = await visit.watch()
    assert "You can vote on the answers as they are" in frames[-1]
    fake.status = 200
    await post(visit, "turn", text="And now?", number="3")
    await visit.watch()
    assert "And then?" not in str(fake.requests[-1]["messages"])
    page = await page_of(visit)
    assert "And then?" in page and "And now?" in page
    token = re.search(r'name="token" value="(\w+)"', page)[1]
    await post(visit, "vote", winner="model_a", token=token)
    vote = await Comparison.objects.select_related("prompt").aget()
    assert vote.prompt_id == first.prompt_id


async def test_a_later_turn_that_fails_does_not_show_which_of_the_two_has_failed(visit, fake, models):
    """Else whoever knows which model takes no long questions would know which of the two it is, and vote on it."""
    await visit.watch()
    short = models[0].server_name
    fake.answer = lambda body: (
        ["A few ", b'data: {"error": "too long"}\n\n'] if body["model"] == short else ["So very ", 0.3, "long."]
    )
    await post(visit, "turn", text="Much text.", number="2")
    frames = await visit.watch()
    assert "You can vote on the answers as they are" in frames[-1]
    page, scene = await page_of(visit), await sync_to_async(live_battles.look)(visit.battle)
    assert [(side.text, side.state) for side in scene.sides] == [("", "failed")] * 2
    assert not [text for text in ("A few", "So very") if text in page or text in frames[-1]]


async def test_a_vote_in_a_turn_that_has_not_begun_is_on_what_came_before(visit, fake):
    await visit.watch()
    fake.answer = lambda body: [2.0, "Late."]
    await post(visit, "turn", text="And then?", number="2")
    socket = await visit.open()
    await asyncio.sleep(0.2)
    token = await sync_to_async(votes.issue_token)(visit.battle)
    assert (await post(visit, "vote", winner="model_a", token=token)).status_code == 302
    vote, battle = await Comparison.objects.aget(), await visit.fresh()
    assert (vote.completion_a_id, vote.completion_b_id) == (battle.completion_a_id, battle.completion_b_id)
    await socket.leave()


# Names


async def test_a_model_that_names_itself_is_masked_in_every_frame_and_its_vote_is_held(visit, fake, models):
    names = ("GPT", "OpenAI", "Open", "Aardvark", "Zebra")
    texts = {
        models[0].server_name: ["I ", "am G", 0.15, "PT", 0.15, "-4, made", 0.15, " by Open", 0.15, "AI", ". ", "So."],
        models[1].server_name: ["Well, ", "Zebra", 0.2, "-SFT", 0.2, "-v2 greets you.", " The tide is the sea's."],
    }
    fake.answer = lambda body: texts[body["model"]]
    frames = await visit.watch()
    everything = "".join(frames)
    assert not [name for name in names if name in everything]
    assert everything.count("(name hidden)") >= 2
    whole = {c.text for c in await visit.completions()}
    assert any("GPT-4, made by OpenAI" in text for text in whole)
    battle = await visit.fresh()
    assert battle.hold_reason == arena.NAMED_ITSELF
    reload = await page_of(visit)
    assert "(name hidden)" in reload and not [name for name in names if name in reload]
    token = await sync_to_async(votes.issue_token)(battle)
    await post(visit, "vote", winner="tie", token=token)
    vote, page = await Comparison.objects.aget(), await page_of(visit)
    assert vote.status == "held" and "named itself" in vote.status_reason
    assert "GPT-4, made by OpenAI" in page and "(name hidden)" not in page
    assert "Not counted: this vote is held" in page and "The name was hidden until you voted" in page


# What the vote is filed under


@pytest.fixture
def spoken(db):
    """A battle of two turns, both sides of which stand: `spoken(side, alike)`."""

    def make(side: str, alike: bool = False) -> Battle:
        project = factories.make_project()
        pair = [factories.make_model() for _ in range(2)]
        prompt = factories.make_prompt(project, side=side)
        a, b = (factories.make_completion(prompt, "Same." if alike else None, model=m) for m in pair)
        battle = Battle.objects.create(
            project=project, prompt=prompt, model_a=pair[0], model_b=pair[1], completion_a=a, completion_b=b,
            visitor="v",
        )  # fmt: skip
        turn = follow_up.ask_on(battle=battle, text="And then?")
        for letter, model in zip("ab", pair, strict=True):
            prompt = getattr(turn, f"prompt_{letter}")
            setattr(turn, f"completion_{letter}", factories.make_completion(prompt, model=model))
        turn.save()
        return battle

    return make


def vote_in(battle: Battle) -> Comparison:
    return voting.vote(battle=battle, winner="model_a", token=votes.issue_token(battle), visitor="v")


@pytest.mark.parametrize("side", ["train", "eval"])
def test_later_turns_stay_on_the_side_where_the_conversation_began(spoken, side):
    turn = spoken(side).turns.get()
    first = turn.battle.prompt
    for prompt in (turn.prompt_a, turn.prompt_b):
        assert (prompt.side, prompt.root_id) == (side, first.pk)


def test_a_vote_on_a_conversation_ranks_by_its_first_question(spoken):
    battle = spoken("eval")
    vote, turn = vote_in(battle), battle.turns.get()
    assert (vote.prompt_id, vote.completion_a_id) == (battle.prompt_id, turn.completion_a_id)
    assert votes.counting(vote).ranks


def test_a_vote_on_conversations_that_went_apart_teaches_nothing_and_says_so(spoken):
    vote = vote_in(spoken("train"))
    assert not Comparison.objects.filter(pk=vote.pk).teaching().exists()
    assert "Saved, but it does not count" in votes.counting(vote).words and not votes.counting(vote).is_of_use


def test_a_vote_teaches_where_both_sides_share_the_conversation(spoken):
    battle = spoken("train", alike=True)
    vote = vote_in(battle)
    assert vote.prompt_id == battle.turns.get().prompt_a_id == battle.turns.get().prompt_b_id
    assert Comparison.objects.filter(pk=vote.pk).teaching().exists()
    assert "training" in votes.counting(vote).words


def test_a_battle_of_one_question_still_teaches(spoken):
    battle = spoken("train")
    battle.turns.all().delete()
    assert Comparison.objects.filter(pk=vote_in(battle).pk).teaching().exists()


# What ends a conversation


def refused(call, **arguments) -> Refused:
    with pytest.raises(Refused) as caught:
        call(**arguments)
    return caught.value


def test_a_battle_has_so_many_questions_and_no_more(spoken, monkeypatch):
    battle = spoken("eval")
    monkeypatch.setattr(follow_up, "MOST_TURNS", 2)
    said = refused(follow_up.ask_on, battle=battle, text="More?")
    assert said.status == 409 and "vote" in said.errors["text"]


def test_a_conversation_has_so_many_characters_and_no_more(spoken):
    battle = spoken("eval")
    said = refused(follow_up.ask_on, battle=battle, text="x" * 19_990)
    assert said.status == 413 and "vote" in said.errors["text"]
    assert refused(follow_up.ask_on, battle=battle, text=" ").status == 400


def test_nothing_is_asked_on_after_the_vote_nor_by_others_nor_out_of_turn(spoken):
    battle = spoken("eval")
    assert arena.own_battle(token=battle.token, visitor="x", user=None) is None
    assert refused(follow_up.ask_on, battle=battle, text="More?", number=5).status == 409
    vote_in(battle)
    assert "voted" in refused(follow_up.ask_on, battle=battle, text="More?").errors["battle"]


def test_nothing_is_asked_on_while_answers_are_written(spoken):
    battle = spoken("eval")
    follow_up.ask_on(battle=battle, text="More?")
    assert "Wait" in refused(follow_up.ask_on, battle=battle, text="Still more?").errors["battle"]
    assert refused(voting.vote, battle=battle, winner="tie", token=votes.issue_token(battle), visitor="v").status == 409


# Tokens


def test_a_token_is_used_up_by_one_vote(spoken):
    battle = spoken("eval")
    token = votes.issue_token(battle)
    voting.vote(battle=battle, winner="tie", token=token, visitor="v")
    battle.refresh_from_db()
    assert battle.vote_token_hash == "" and votes.issue_token(battle) == ""
    assert refused(voting.vote, battle=battle, winner="tie", token=token, visitor="v").status == 409
    assert Comparison.objects.count() == 1


def test_a_token_of_another_battle_or_none_is_refused_and_kept_out_of_the_database(spoken):
    battle, other = spoken("eval"), spoken("eval")
    token = votes.issue_token(other)
    assert refused(voting.vote, battle=battle, winner="tie", token=token, visitor="v").errors.keys() == {"token"}
    votes.issue_token(battle)
    assert refused(voting.vote, battle=battle, winner="tie", token=token, visitor="v").status == 403
    assert refused(voting.vote, battle=battle, winner="tie", token="", visitor="v").status == 400
    stored = Battle.objects.filter(pk=other.pk).values().get()
    assert token not in str(stored) and stored["begun_at"]


def test_tabs_of_one_visitor_have_one_token(spoken):
    battle = spoken("eval")
    assert votes.issue_token(battle) == votes.issue_token(Battle.objects.get(pk=battle.pk))


def test_a_comment_that_is_too_long_is_refused_before_anything_is_stored(spoken):
    battle = spoken("eval")
    said = refused(
        voting.vote, battle=battle, winner="tie", token=votes.issue_token(battle), visitor="v", comment="x" * 10_001
    )
    assert said.status == 413 and "comment" in said.errors and not Comparison.objects.exists()


def test_a_drawn_answer_that_names_its_model_is_masked_and_its_vote_held(db):
    project = factories.make_project()
    prompt = factories.make_prompt(project, side="eval")
    for text in ("I am ChatGPT, and tides come of the moon.", "Tides come of the moon."):
        factories.make_completion(prompt, text, model=factories.make_contestant(project).model)
    Completion.objects.update(source="run")
    battle = arena.start_battle(project=project, visitor="v", is_drawn=True)
    shown = " ".join(side.text for side in live_battles.look(battle).sides)
    assert "(name hidden)" in shown and "ChatGPT" not in shown
    vote = voting.vote(battle=battle, winner="tie", token=votes.issue_token(battle), visitor="v")
    assert vote.status == "held"
