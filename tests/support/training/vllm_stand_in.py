"""A strict stand-in for vLLM's server, written from its documentation and the source of its two LoRA routes.

It is not vLLM: no model answers, a request's text is the name it asked. What is vLLM's: the routes and when they exist,
the bodies, the status codes and the wording of errors, in the form of the versions since 0.10 or of the older ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.stub_server import JsonHandler, serve


@dataclass
class VllmStandIn:
    url: str = ""
    base: str = "base"
    key: str = ""
    updates_at_runtime: bool = True  # VLLM_ALLOW_RUNTIME_LORA_UPDATING
    lora: bool = True  # --enable-lora
    max_lora_rank: int = 16
    old_errors: bool = False  # {"object": "error", "message": …} in place of {"error": {…}}
    loaded: dict[str, str] = field(default_factory=dict)  # name -> path
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    most_loaded: int = 0

    def restart(self) -> None:
        """What a process forgets when it ends."""
        self.loaded.clear()


@contextmanager
def vllm_stand_in() -> Iterator[VllmStandIn]:
    vllm = VllmStandIn()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            if not self._let_in():
                return
            if self.path != "/v1/models":
                self.send_json(404, {"detail": "Not Found"})
                return
            cards = [{"id": vllm.base, "object": "model", "owned_by": "vllm", "root": vllm.base, "parent": None}]
            cards += [
                {"id": name, "object": "model", "owned_by": "vllm", "root": path, "parent": vllm.base}
                for name, path in vllm.loaded.items()
            ]
            self.send_json(200, {"object": "list", "data": cards})

        def do_POST(self) -> None:
            body = self.read_json()
            if not self._let_in():
                return
            vllm.calls.append((self.path, body))
            routes = {"/v1/chat/completions": self._chat}
            if vllm.updates_at_runtime:
                routes |= {"/v1/load_lora_adapter": self._load, "/v1/unload_lora_adapter": self._unload}
            if self.path in routes:
                routes[self.path](body)
            else:
                self.send_json(404, {"detail": "Not Found"})

        def _load(self, body: dict[str, Any]) -> None:
            name, path = body.get("lora_name"), body.get("lora_path")
            if not name or not path:
                self._error(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
            elif name in vllm.loaded:
                self._error(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
            elif not vllm.lora:
                self._error(500, "InternalServerError", "LoRA is not enabled. Use --enable-lora to enable LoRA.")
            elif not (Path(path) / "adapter_config.json").is_file():
                self._error(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
            elif (rank := json.loads((Path(path) / "adapter_config.json").read_text())["r"]) > vllm.max_lora_rank:
                told = f"LoRA rank {rank} is greater than max_lora_rank {vllm.max_lora_rank}."
                self._error(500, "InternalServerError", told)
            else:
                vllm.loaded[name] = path
                vllm.most_loaded = max(vllm.most_loaded, len(vllm.loaded))
                self.send_json(200, f"Success: LoRA adapter '{name}' added successfully.")

        def _unload(self, body: dict[str, Any]) -> None:
            name = body.get("lora_name")
            if name not in vllm.loaded:
                self._error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
            else:
                del vllm.loaded[name]
                self.send_json(200, f"Success: LoRA adapter '{name}' removed successfully.")

        def _chat(self, body: dict[str, Any]) -> None:
            name = body.get("model")
            if name != vllm.base and name not in vllm.loaded:
                self._error(404, "NotFoundError", f"The model `{name}` does not exist.")
                return
            text = f"{name} answers."
            usage = {"prompt_tokens": 1, "completion_tokens": 2}
            if not body.get("stream"):
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                self.send_json(200, {"choices": [choice], "usage": usage})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for delta, reason in (({"content": text}, None), ({}, "stop")):
                event = {"choices": [{"delta": delta, "finish_reason": reason}]}
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")

        def _let_in(self) -> bool:
            if vllm.key and self.headers.get("Authorization") != f"Bearer {vllm.key}":
                self.send_json(401, {"error": "Unauthorized"})
                return False
            return True

        def _error(self, status: int, kind: str, message: str) -> None:
            error = {"message": message, "type": kind, "param": None, "code": status}
            self.send_json(status, {"object": "error", **error} if vllm.old_errors else {"error": error})

    with serve(Handler) as vllm.url:
        yield vllm
