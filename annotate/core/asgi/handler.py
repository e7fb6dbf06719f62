"""Run Django under ASGI with one change of thread for a request, and threads that live on.

All our views are plain functions, and Django's own handler would cross between the event loop and a thread of the
request's own for each middleware, and open a database connection in that thread. Here a request runs from its first
middleware to its last in one of a few dozen threads. What is sent bit by bit is sent by the event loop, as ever; what
such a body reads of the database, it reads in a thread of its own.

A request that waits for a model lets another one have its place meanwhile: its thread sleeps, and is one more. Of
requests that crowds send at one moment, only a few have places at once, so that nobody else stands behind all of them.
So it is with annotations, too: threads that take turns at one interpreter and one queue cost more than standing in line
here does, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import FileResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from annotate.core.asgi import measured_requests, waiting
from annotate.core.asgi import request_bodies as bodies
from annotate.core.asgi.database_threads import keep_connection
from annotate.core.asgi.places import Place
from annotate.core.asgi.request_ids import user_id
from annotate.core.logs import context

THREADS = 40  # per process that work; those that wait for a model come on top: `annotate.core.asgi.waiting.MOST`

CROWDED = 4  # of them at most for requests to addresses where crowds come, each kind of address


class Handler(ASGIHandler):
    """Answer requests. Each of `crowded` finds addresses of which a few requests at a time are answered."""

    def __init__(self, *crowded: re.Pattern[str]) -> None:
        super().__init__()
        threads = ThreadPoolExecutor(THREADS + waiting.MOST, "request", initializer=keep_connection)
        self._answer_in_thread = sync_to_async(self._answer, thread_sensitive=False, executor=threads)
        self._places = asyncio.Semaphore(THREADS)
        self._few = [(pattern, asyncio.Semaphore(CROWDED)) for pattern in crowded]

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def handle(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            body = await bodies.read(scope, receive)
        except RequestAborted:
            return
        except bodies.TooLarge as error:
            refusal = bodies.refusal(error)
            measured_requests.note(scope, refusal.status_code, 0.0)
            await self.send_response(refusal, send)
            return
        began = time.perf_counter()
        place = self._place(scope["path"])
        waiting.place.set(place)
        async with place:
            response = await self._answer_in_thread(scope, body)
        measured_requests.note(scope, response.status_code, time.perf_counter() - began)
        if response.streaming:
            await self._stream(response, receive, send)
        else:
            await self.send_response(response, send)

    def _place(self, address: str) -> Place:
        few = next((semaphore for pattern, semaphore in self._few if pattern.search(address)), None)
        return Place(few, self._places) if few else Place(self._places)

    def _answer(self, scope: dict[str, Any], body: Any) -> HttpResponseBase:
        """Answer all of it in one thread. A plain answer is closed here, and its connection is free before it is
        sent."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, problem = self.create_request(scope, body)
        if request is not None:
            context.add(user_id=partial(user_id, request))
        try:
            response: Any = self.get_response(request) if request else problem
        finally:
            body.close()
        measured_requests.name_view(scope, request)
        response._handler_class = self.__class__
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if response.streaming:
            signals.request_finished.send(sender=self.__class__)  # of this thread; the body has one of its own
        else:
            response.close()
        return response

    async def _stream(self, response: HttpResponseBase, receive: Any, send: Any) -> None:
        """Stream until it ends or nobody listens any more."""
        sending = asyncio.create_task(self.send_response(response, send))
        listening = asyncio.create_task(self.listen_for_disconnect(receive))
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, sending):
            task.cancel()
        error, _ = await asyncio.gather(sending, listening, return_exceptions=True)
        await sync_to_async(response.close)()
        if isinstance(error, Exception):
            raise error
