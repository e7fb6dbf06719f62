"""A conversation's live page: a stop is heard whenever it comes, and what was written until then is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from annotate.core.asgi.conversation_consumer import ConversationConsumer


class Talk(ConversationConsumer, is_base=True):
    """Write one word and wait for ever; stopped, keep it by something that takes a moment."""

    is_admitted = True

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []
        self.writes = asyncio.Event()

    async def answer(self, fields: dict[str, Any]) -> None:
        if fields["do"] == "ask, and stop while the page is sent":
            self.stop()
        await self.show_until_over([asyncio.create_task(self._write())])

    async def show(self) -> None: ...

    async def _write(self) -> None:
        try:
            self.writes.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.kept.append("First words")


async def test_a_stop_that_comes_before_the_writing_begins_is_heard():
    talk = Talk()
    await talk.receive('{"do": "ask, and stop while the page is sent"}')
    await asyncio.wait_for(talk.asking, 5)
    assert talk.kept == ["First words"]


async def test_a_second_press_does_not_disturb_the_keeping():
    talk = Talk()
    await talk.receive('{"do": "ask"}')
    await talk.writes.wait()
    await talk.receive('{"do": "stop"}')
    await asyncio.sleep(0)  # it keeps what it has
    await talk.receive('{"do": "stop"}')
    await asyncio.wait_for(talk.asking, 5)
    assert talk.kept == ["First words"]


async def test_a_stop_of_one_answer_stops_no_later_one():
    talk = Talk()
    for n in (1, 2):
        talk.writes.clear()
        await talk.receive('{"do": "ask"}')
        await talk.writes.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(talk.kept) == n - 1 and not talk.asking.done()
        await talk.receive('{"do": "stop"}')
        await asyncio.wait_for(talk.asking, 5)
        await talk.receive('{"do": "stop"}')  # too late
    assert talk.kept == ["First words"] * 2
