"""Serve models with `transformers serve`, and adapters on one base from that base's memory.

    python -m training.recipes.serve --host 127.0.0.1 --port 8001 --adapters 16

By itself `transformers serve` loads for each adapter's folder its base once more. Here a child is a copy of the loaded
base's modules around the same weights, with the adapter's factors beside them: it takes as much memory as its factors,
and is there in a fraction of a second. Two calls are added, as vLLM has them, so that Assay says when:

    POST /v1/load_lora_adapter     {"lora_name": FOLDER, "lora_path": FOLDER}
    POST /v1/unload_lora_adapter   {"lora_name": FOLDER}

The name is the folder, because that is what a request's `model` holds. An adapter that nobody has loaded is loaded when
it is first asked; above `--adapters` the least used one goes. All other options are those of `transformers serve`.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from torch import nn
from transformers import GenerationConfig
from transformers.cli import serve as transformers_serve
from transformers.cli.serving import model_manager, server
from transformers.cli.serving.utils import split_revision

from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters

log = logging.getLogger("assay.serve")
DEFAULT_ADAPTERS = 16


class SharedBases(model_manager.ModelManager):
    """A manager of models that gives adapters on one base one copy of its weights."""

    most_adapters = DEFAULT_ADAPTERS

    def __init__(self, *args: Any, **options: Any) -> None:
        self._used: dict[str, float] = {}  # adapters in memory, and when each was last asked for
        self._used_lock = threading.Lock()
        super().__init__(*args, **options)

    def load_model_and_processor(self, model_id_and_revision: str, *args: Any, **options: Any) -> tuple[Any, Any]:
        """Return the model, loaded if need be. An adapter keeps its base from being let go as idle."""
        if not adapters.is_adapter(model_id_and_revision):
            return super().load_model_and_processor(model_id_and_revision, *args, **options)
        base = self.loaded_models.get(str(adapters.base_folder(model_id_and_revision)))
        if base is not None:
            base.reset_timer()
        loaded = super().load_model_and_processor(model_id_and_revision, *args, **options)
        with self._used_lock:
            self._used[model_id_and_revision] = time.monotonic()
        self._let_go_least_used()
        return loaded

    def _load_model(self, model_id_and_revision: str, *args: Any, **options: Any) -> Any:
        folder = Path(split_revision(model_id_and_revision)[0])
        if options.get("gguf_file") is not None or not adapters.is_adapter(folder):
            return super()._load_model(model_id_and_revision, *args, **options)
        base, _ = self.load_model_and_processor(str(adapters.base_folder(folder)))  # refuses what is no plain LoRA
        return child_of(base, folder)

    def adapters_in_memory(self) -> list[str]:
        """Return the folders of the adapters in memory, the least used one first."""
        with self._used_lock:
            self._used = {name: when for name, when in self._used.items() if name in self.loaded_models}
            return sorted(self._used, key=lambda name: self._used[name])

    def unload(self, name: str) -> bool:
        """Let an adapter go; False when it is not in memory. An answer under way is written to its end."""
        if name not in self.adapters_in_memory() or (timed := self.loaded_models.get(name)) is None:
            return False
        timed.delete_model()
        return True

    def _let_go_least_used(self) -> None:
        loaded = self.adapters_in_memory()
        for name in loaded[: max(0, len(loaded) - self.most_adapters)]:
            log.warning("Letting go %s: %d adapters are kept in memory.", name, self.most_adapters)
            self.unload(name)


def child_of(base: nn.Module, folder: Path) -> nn.Module:
    """Return the base with the adapter in `folder`: modules of its own around the very same weights."""
    shared = {id(tensor): tensor for tensor in itertools.chain(base.parameters(), base.buffers())}
    child: Any = copy.deepcopy(base, shared)
    child.load_adapter(str(folder))
    child.requires_grad_(False)
    child.name_or_path = str(folder)
    if (folder / "generation_config.json").is_file():
        child.generation_config = GenerationConfig.from_pretrained(folder)
    child.eval()
    return child


def add_routes(app: FastAPI, manager: SharedBases) -> None:
    """Add the two calls to `transformers serve`, with the status codes and words of vLLM."""

    @app.post("/v1/load_lora_adapter")
    def load(body: dict[str, Any]) -> Any:
        name, path = str(body.get("lora_name") or ""), str(body.get("lora_path") or "")
        if not name or name != path:
            return _error(400, "lora_name and lora_path must both be the adapter's folder.")
        if not adapters.is_adapter(path):
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}")
        try:
            manager.load_model_and_processor(name)
        except RecipeFailure as failure:
            return _error(400, str(failure))
        except Exception as error:  # whatever transformers raises: the server goes on, and says what it was
            log.exception("%s could not be loaded", path)
            return _error(500, f"{type(error).__name__}: {error}")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    @app.post("/v1/unload_lora_adapter")
    def unload(body: dict[str, Any]) -> Any:
        name = str(body.get("lora_name") or "")
        if not manager.unload(name):
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "code": status}}, status_code=status)


def install(most_adapters: int) -> None:
    """Have `transformers serve` make its manager and its server by the two of this module."""
    build: Callable[..., FastAPI] = server.build_server

    def build_server(manager: Any, *args: Any, **options: Any) -> FastAPI:
        app = build(manager, *args, **options)
        add_routes(app, manager)
        return app

    SharedBases.most_adapters = most_adapters
    model_manager.ModelManager = SharedBases  # type: ignore[misc]
    server.build_server = build_server  # type: ignore[assignment]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="transformers serve, with adapters beside the base in memory")
    parser.add_argument("--adapters", type=int, default=DEFAULT_ADAPTERS, help="adapters in memory at one time")
    own, others = parser.parse_known_args(arguments)
    if own.adapters < 1:
        parser.error("--adapters must be 1 at least")
    install(own.adapters)
    import typer

    app = typer.Typer()
    app.command()(transformers_serve.Serve)
    app(others, prog_name="training.recipes.serve")


if __name__ == "__main__":
    main(sys.argv[1:])
