"""Live pages of this app: each renders its page's own partials and sends them to htmx's websocket extension."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from annotate.arena.battles import actions as arena
from annotate.arena.battles import votes
from annotate.arena.streaming import live_battles
from annotate.arena.streaming.frames import Frames
from annotate.core.asgi.database_threads import in_thread
from annotate.core.asgi.socket_access import DeclaredConsumer
from annotate.core.visitors import visitor_of_session
from annotate.models import Battle

GONE = 4404  # a code of our own: htmx reconnects only after accidents
ACCIDENT = 1011
log = logging.getLogger(__name__)


class BattleConsumer(DeclaredConsumer):
    """Two answers as they are written, for whoever started the battle. A frame holds no name, no id, no figure."""

    right = "read, mine"
    sending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()
        battle = await in_thread(self._battle)()
        if battle is None:
            await self.close(GONE)
            return
        self.sending = asyncio.create_task(self._send_frames(battle))

    async def disconnect(self, code: int) -> None:
        if self.sending is not None:
            self.sending.cancel()  # the writing goes on: a reload finds it

    def _battle(self) -> Battle | None:
        """Return the battle of this address, if it is theirs; a stranger learns nothing, not even that there is one."""
        user = self.scope["user"] if self.scope["user"].is_authenticated else None
        token, visitor = self.scope["url_route"]["kwargs"]["token"], visitor_of_session(self.scope["session"])
        battle = arena.own_battle(token=token, visitor=visitor, user=user)
        return battle if battle is not None and self.may_enter(battle.project) else None

    async def _send_frames(self, battle: Battle) -> None:
        try:
            await self._follow(battle)
        except Exception:  # the edge: a page whose socket stays open and silent would wait for ever
            log.exception("a battle's live page failed")
            await self.close(ACCIDENT)

    async def _follow(self, battle: Battle) -> None:
        frames, vote_token = Frames(), ""
        async with aclosing(live_battles.follow(battle.pk)) as scenes:
            async for scene in scenes:
                if scene.can_vote and not vote_token:
                    vote_token = await in_thread(votes.issue_token)(battle)
                if frame := frames.of(scene, vote_token):
                    await self.send(frame)
        await self.close()
