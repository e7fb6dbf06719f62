"""People of `service_faults`: annotators who judge and visitors who vote, through two web processes of which either may
be gone. Whoever gets no answer asks again with the same key, at the other one, as the page's outbox does."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import SLUG
from benchmarks.load_client import Connection

ANSWER_SECONDS, PAUSE_SECONDS = 30.0, 1.0
_AGAIN = {429, 500, 502, 503, 504}


@dataclass
class Votes:
    """What people were told: `judged` and `battles` are the ids of acknowledged votes, `refused` the answers that
    refused one for good, `repeats` the answers after which somebody asked again."""

    judged: list[int] = field(default_factory=list)
    battles: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  # seconds from a judgement to its acknowledgement
    refused: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    unsent: int = 0  # votes that had no answer by the end


class Person:
    """Somebody who knows both web processes."""

    def __init__(self, ports: list[int], headers: dict[str, str], votes: Votes) -> None:
        connections = [Connection("127.0.0.1", port, headers) for port in ports]
        random.shuffle(connections)
        self._ways = itertools.cycle(connections)
        self._way = next(self._ways)
        self.votes = votes

    async def ask(self, what: str, path: str, body: Any, until: float, more: str = "") -> tuple[int, Any]:
        """Ask until there is an answer; status 0 where there is none by then."""
        while time.monotonic() < until:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    status, answer = await self._way.ask("POST", path, body, more)
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                status, answer = 0, type(error).__name__
            if status and status not in _AGAIN:
                return status, answer
            self.votes.repeats[f"{what}: {status or answer}"] += 1
            self._way.close()  # what comes late on it would answer the next question
            self._way = next(self._ways)
            await asyncio.sleep(random.uniform(0.2, 2) * PAUSE_SECONDS)
        return 0, None

    def close(self) -> None:
        self._way.close()


async def annotator(person: Person, stops: float, ends: float, think: float) -> None:
    """Judge one pair after the other until `stops`; what was begun is sent until `ends`."""
    votes, task = person.votes, None
    while time.monotonic() < stops:
        if task is None:
            path = f"/api/v1/projects/{SLUG}/assignments/"
            status, task = await person.ask("next item", path, {"kind": "compare"}, stops)
            if status != 200:
                if status:
                    votes.refused[f"next item: {status} {_code(task)}"] += 1
                task = None
                await asyncio.sleep(PAUSE_SECONDS)
                continue
        await asyncio.sleep(random.uniform(0, 2 * think))
        body = {"winner": random.choice(("model_a", "model_b", "tie", "both_bad")), "seconds": 5.0}
        began = time.monotonic()
        status, answer = await person.ask(
            "judgement", f"/api/v1/assignments/{task['id']}/submit/?next=1", body, ends,
            f"Idempotency-Key: service-{task['id']}\r\n",
        )  # fmt: skip
        if status in (200, 201):
            votes.judged.append(answer["id"])
            votes.waits.append(time.monotonic() - began)
            task = answer.get("next")
            continue
        if status:
            votes.refused[f"judgement: {status} {_code(answer)}"] += 1
        else:
            votes.unsent += 1
        task = None
    person.close()


async def visitor(person: Person, number: int, stops: float, ends: float, think: float) -> None:
    """Ask two models something, and vote, again and again."""
    votes = person.votes
    for count in itertools.count():
        if time.monotonic() >= stops:
            break
        body = {"project": SLUG, "text": f"Question {count} of visitor {number}", "wait": 20}
        status, battle = await person.ask("battle", "/api/v1/battles/", body, stops)
        if status != 201 or not battle.get("vote_token"):
            problem = battle["turns"][-1]["problem"] or "no answer in time" if status == 201 else _code(battle)
            votes.refused[f"battle: {status} {problem}"] += status != 0
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        await asyncio.sleep(random.uniform(0, 2 * think))
        vote = {"token": battle["vote_token"], "winner": random.choice(("model_a", "model_b", "tie", "both_bad"))}
        key = f"Idempotency-Key: vote-{battle['id']}\r\n"
        status, answer = await person.ask("vote", f"/api/v1/battles/{battle['id']}/vote/", vote, ends, key)
        if status in (200, 201):
            votes.battles.append(answer["comparison"])
        elif status:
            votes.refused[f"vote: {status} {_code(answer)}"] += 1
        else:
            votes.unsent += 1
    person.close()


def crowd(ports: list[int], keys: list[str], visitors: int, seconds: float, think: float) -> Votes:
    """Let everybody work for some seconds; return what they were told. Two minutes more are for what was not sent."""
    votes = Votes()
    asyncio.run(_all(ports, keys, visitors, seconds, think, votes))
    return votes


async def _all(ports: list[int], keys: list[str], visitors: int, seconds: float, think: float, votes: Votes) -> None:
    stops = time.monotonic() + seconds
    ends = stops + 120
    begin: list[Callable[[], Coroutine[Any, Any, None]]] = [
        lambda key=key: annotator(Person(ports, {"Authorization": f"Token {key}"}, votes), stops, ends, think)
        for key in keys
    ]
    begin += [
        lambda n=n: visitor(
            Person(ports, {"X-Forwarded-For": f"10.0.{n // 250}.{n % 250 + 1}", "Visitor": f"visitor-{n:032d}"}, votes),
            n, stops, ends, think,
        )
        for n in range(visitors)
    ]  # fmt: skip
    await asyncio.gather(*(one() for one in begin))


def _code(answer: Any) -> str:
    return str(answer)[:120]
