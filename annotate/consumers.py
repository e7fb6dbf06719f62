"""Live pages of this app: each renders its page's own partials and sends them to htmx's websocket extension."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.template.loader import render_to_string

from annotate import live_battles
from annotate.actions import arena
from annotate.models import Battle
from annotate.visitors import visitor_of_session

PAGE = "annotate/arena_battle.html"
GONE = 4404  # a code of our own: htmx reconnects only after accidents
ACCIDENT = 1011
log = logging.getLogger(__name__)


class BattleConsumer(AsyncWebsocketConsumer):
    """Two answers as they are written, for whoever started the battle. A frame holds no name, no id, no figure."""

    sending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()
        battle = await database_sync_to_async(self._battle)()
        if battle is None:
            await self.close(GONE)
            return
        self.sending = asyncio.create_task(self._send_frames(battle.pk))

    async def disconnect(self, code: int) -> None:
        if self.sending is not None:
            self.sending.cancel()  # the writing goes on: a reload finds it

    def _battle(self) -> Battle | None:
        """The battle of this address, if it is theirs; a stranger learns nothing, not even that there is one."""
        battle = Battle.objects.filter(token=self.scope["url_route"]["kwargs"]["token"]).first()
        user = self.scope["user"] if self.scope["user"].is_authenticated else None
        visitor = visitor_of_session(self.scope["session"])
        return battle if battle and arena.belongs_to(battle, visitor=visitor, user=user) else None

    async def _send_frames(self, battle_id: int) -> None:
        try:
            await self._follow(battle_id)
        except Exception:  # the edge: a page whose socket stays open and silent would wait for ever
            log.exception("a battle's live page failed")
            await self.close(ACCIDENT)

    async def _follow(self, battle_id: int) -> None:
        shown: dict[str, live_battles.Side] = {}
        async with aclosing(live_battles.follow(battle_id)) as frames:
            async for sides in frames:
                changed = [side for side in sides if shown.get(side.letter) != side]
                shown |= {side.letter: side for side in changed}
                if changed:
                    await self.send("".join(_render("answer", side=side) for side in changed))
        await self.send(_render("choices", sides=sides) + _render("progress", sides=sides))
        await self.close()


def _render(partial: str, **context: Any) -> str:
    if sides := context.get("sides"):
        context |= live_battles.outlook(sides)
    return render_to_string(f"{PAGE}#{partial}", {"live": True, **context})
