"""A page's websocket, without a server; channels' own communicator needs daphne, which the product does not."""

from __future__ import annotations

from typing import Any

from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser


class PageSocket(ApplicationCommunicator):
    def __init__(self, routes: Any, path: str, query: str = "") -> None:
        scope = {
            "type": "websocket", "path": path, "query_string": query.encode(), "headers": [], "subprotocols": [],
            "user": AnonymousUser(),
        }  # fmt: skip
        super().__init__(URLRouter(routes), scope)

    async def connect(self) -> None:
        await self.send_input({"type": "websocket.connect"})
        assert (await self.receive_output(5))["type"] == "websocket.accept"

    async def receive(self) -> str:
        return (await self.receive_output(5))["text"]

    async def disconnect(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait()
