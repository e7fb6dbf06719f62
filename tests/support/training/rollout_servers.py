"""A rollout server of PPO in a thread of the test, whose first requests may go wrong."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import Request, Response

from training.recipes.ppo import rollout_server

Fault = Callable[[Request], Awaitable[Response]]


class Served:
    """Serve a model at `url` until `stop`. `faults` answer the first requests to draw, one each."""

    def __init__(self, model: Path, folder: Path, *faults: Fault, key: str = "") -> None:
        self.faults, self.released = list(faults), threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        app = rollout_server.application(rollout_server.Service(model, folder), key)

        @app.middleware("http")
        async def fail(request: Request, proceed: Any) -> Any:
            is_due = self.faults and request.url.path == "/draw"
            return await self.faults.pop(0)(request) if is_due else await proceed(request)

        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            self.thread.join(0.02)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(120)


@pytest.fixture
def serve(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that starts a server of the model, which this machine may ask."""
    monkeypatch.setenv("ASSAY_PRIVATE_ENDPOINTS", "127.0.0.1")
    started: list[Served] = []

    def start(*faults: Fault, of: Path = model, key: str = "") -> Served:
        started.append(Served(of, tmp_path / f"served-{len(started)}", *faults, key=key))
        return started[-1]

    yield start
    for served in started:
        served.stop()
