"""Declare who may open a live page."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.exceptions import ImproperlyConfigured

from annotate.core.permissions import can
from annotate.core.rights import action_of, checked
from annotate.models import Project


class DeclaredConsumer(AsyncWebsocketConsumer):
    """A consumer whose `right` says who may open it. Raises ImproperlyConfigured at import where it has none."""

    right: ClassVar[str]

    def __init_subclass__(cls, is_base: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if is_base:
            return
        if not hasattr(cls, "right"):
            raise ImproperlyConfigured(f"Say by {cls.__name__}.right who may open this live page.")
        checked({"get": cls.right})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Follow one socket. Somebody who has gone is no fault: the server then refuses what is sent by an OSError, and
        that they left is the next that it says."""

        async def send_if_there(message: Any) -> None:
            with suppress(OSError):
                await send(message)

        await super().__call__(scope, receive, send_if_there)

    def may_enter(self, project: Project) -> bool:
        """Return whether this person may do in the project what `right` says of it."""
        return can(self.scope["user"], action_of(self.right), project)
