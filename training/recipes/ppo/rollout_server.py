"""Draw answers for PPO runs on other hosts: `python -m training.recipes.ppo.rollout_server MODEL --port 8010`.

MODEL is the folder of the runs' parent. What an actor does over a socket (`training.recipes.ppo.rollout_actor`) is done
here over HTTP, for a config's `rollout_server`; weights come over the network and are kept in a folder of this process.

    GET  /health            {"model": hash of the weights in MODEL}
    PUT  /weights/VERSION   a safetensors file; refused where its bytes are not that version
    POST /draw              a request as an actor gets it, with the run's config, its seed and the hash of its parent

An answer is a safetensors file, with what an actor says about it in a header. Where `ASSAY_ROLLOUT_KEY` is set, each
request must bring it; without it only this machine is served.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from safetensors.torch import save

from annotate.core.network.public_addresses import is_this_machine
from training.configs.rollout_options import KEY_VARIABLE
from training.core.run_directory import RecipeFailure, Row, RunSpec
from training.recipes.common import loading
from training.recipes.common.entry import describe
from training.recipes.ppo.rollout_actor import HEADER, Actor
from training.recipes.ppo.weights_handover import Handover, verified_weights

_KEPT = 2  # versions: of the step that draws, and of the one after it


class Service:
    """Hold the model as one run needs it, and the weights that were handed over last."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder, self.hash = model, folder, loading.weights_hash(model)
        self.lock = threading.Lock()
        self.actor: Actor | None = None
        self.run: Row = {}

    def keep(self, version: str, path: Path) -> None:
        """Keep handed-over weights. Raises RecipeFailure where they are of another version."""
        try:
            verified_weights(Handover(str(path), version))
        except RecipeFailure:
            path.unlink()
            raise
        path.rename(self._path(version))
        for old in sorted(self.folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns)[:-_KEPT]:
            old.unlink()

    def draw(self, body: bytes) -> tuple[Row, bytes]:
        """Return what is said about an answer, and the answer. Raises RecipeFailure where it cannot be given."""
        request, started = json.loads(body), time.perf_counter()
        with self.lock:
            actor = self._actor_of(request["run"])
            version = request["weights"]["version"]
            request["weights"]["path"] = str(self._path(version))
            done = actor.draw(request)
            about = {"ticket": request["ticket"], "version": actor.version, "seconds": time.perf_counter() - started}
        return about, save({name: tensor.cpu().contiguous() for name, tensor in vars(done).items()})

    def _actor_of(self, run: Row) -> Actor:
        if run["parent"] != self.hash:
            raise RecipeFailure(
                "rollout_server_model",
                f"The rollout server has a model with the hash {self.hash[:12]}, and the run's parent has "
                f"{run['parent'][:12]}.",
                "Start the rollout server with the folder of the run's parent, then resume.",
            )
        if self.actor is None or self.run != run:
            self.actor = None  # two models would take the memory of two
            self.actor = Actor(RunSpec("ppo", run["config"], seed=run["seed"], parent=str(self.model)))
            self.run = run
        return self.actor

    def _path(self, version: str) -> Path:
        return self.folder / f"{version}.safetensors"


def application(service: Service, key: str) -> FastAPI:
    """Return the server. `key`: what each request must bring; "" for none."""
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def require_key(request: Request, proceed: Any) -> Any:
        brought = request.headers.get("authorization", "")
        if key and not hmac.compare_digest(brought.encode(), f"Bearer {key}".encode()):
            return JSONResponse({"detail": "The key is missing or wrong."}, 401)
        return await proceed(request)

    @app.get("/health")
    async def health() -> Row:
        return {"model": service.hash}

    @app.put("/weights/{version}")
    async def take_weights(version: str, request: Request) -> Response:
        if not re.fullmatch("[0-9a-f]{64}", version):
            return JSONResponse({"detail": "A version is a sha256."}, 404)
        descriptor, partial = tempfile.mkstemp(dir=service.folder, suffix=".partial")
        with os.fdopen(descriptor, "wb") as file:
            async for part in request.stream():
                file.write(part)
        try:
            await run_in_threadpool(service.keep, version, Path(partial))
        except Exception as error:
            return _failed(error)
        return Response(status_code=204)

    @app.post("/draw")
    async def draw(request: Request) -> Response:
        body = await request.body()
        try:
            about, answer = await run_in_threadpool(service.draw, body)
        except Exception as error:
            return _failed(error)
        return Response(answer, media_type="application/octet-stream", headers={HEADER: json.dumps(about)})

    return app


def _failed(error: Exception) -> Response:
    return JSONResponse({"failure": describe(error).row}, 422)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.recipes.ppo.rollout_server")
    parser.add_argument("model", type=Path, help="the folder of the runs' parent")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    chosen = parser.parse_args(arguments)
    key = os.environ.get(KEY_VARIABLE, "")
    if not key and not is_this_machine(chosen.host):
        parser.error(f"set {KEY_VARIABLE}, or listen on 127.0.0.1: without a key everybody could use the server.")
    with tempfile.TemporaryDirectory(prefix="assay-rollouts-") as folder:
        service = Service(chosen.model, Path(folder))
        uvicorn.run(application(service, key), host=chosen.host, port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1:])
