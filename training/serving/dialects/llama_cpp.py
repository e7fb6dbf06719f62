"""llama.cpp's server: adapters come with its start, and each request says which of them answers.

    GET  /lora-adapters   [{"id": 0, "path": "a.gguf", "scale": 0.0}, ...]
    POST /lora-adapters   the same list: the scale of those that a request does not name
    a request's "lora"    [{"id": 0, "scale": 1.0}]; adapters that it does not name have scale 0

So loading is finding: the file of a child, as it was exported (GGUF adapter), must be among those that the server was
started with. A request without "lora" gets the scales of the server, 1 by default: they are set to 0. And the base
names an adapter with scale 0 in its requests, too. Without "lora" the server goes on from what it has cached of a
prompt under the adapter that used the same slot before: with the llama.cpp of llama-cpp-python 0.3.36, logprobs of the
base were off by up to 0.19, and by less than 0.002 so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from training.serving.dialects.exchange import Adapter, Loaded, NotLoaded, Reply, Send, of_status

NAME = "llama.cpp"
_ADDRESS = "/lora-adapters"


def is_spoken(reply: Reply) -> bool:
    """Return whether an answer to GET /lora-adapters is llama.cpp's."""
    body = reply.json
    return reply.status == 200 and isinstance(body, list) and all("id" in e and "path" in e for e in body)


def load(send: Send, adapter: Adapter) -> Loaded:
    """Find the adapter among those of the server's start, and return what a request for it holds. Raises NotLoaded."""
    found = present(send, [adapter]).get(adapter.name)
    if found is None:
        raise NotLoaded(
            "llama.cpp's server was started without this adapter, and cannot load adapters while it runs.",
            "Export only the adapter as GGUF, and start the server with --lora "
            f"{adapter.file_stem}-adapter-float32.gguf in addition to the others, and --lora-init-without-apply.",
        )
    return found


def unload(send: Send, adapter: Adapter) -> None:
    """Do nothing: what the server has not applied costs no time, and its memory until it is started anew."""


def present(send: Send, adapters: Iterable[Adapter]) -> dict[str, Loaded]:
    """Return those of the adapters that the server was started with, by name: one look at its list, for their numbers
    are others after each start. None of them is left applied. Raises NotLoaded."""
    entries = _entries(send)
    if any(entry.get("scale") for entry in entries):
        reply = send("POST", _ADDRESS, [{"id": entry["id"], "scale": 0.0} for entry in entries])
        if reply.status != 200:
            raise of_status(reply)
    there = {adapter.name: _entry(entries, adapter) for adapter in adapters}
    return {name: _loaded(entry) for name, entry in there.items() if entry is not None}


def _loaded(entry: dict[str, Any]) -> Loaded:
    return Loaded(
        request_fields={"lora": [{"id": entry["id"], "scale": 1.0}]},
        base_fields={"lora": [{"id": entry["id"], "scale": 0.0}]},
    )


def _entries(send: Send) -> list[dict[str, Any]]:
    reply = send("GET", _ADDRESS, None)
    if not is_spoken(reply):
        raise of_status(reply)
    entries: list[dict[str, Any]] = reply.json
    return entries


def _entry(entries: Sequence[dict[str, Any]], adapter: Adapter) -> dict[str, Any] | None:
    return next((entry for entry in entries if _is_of(str(entry["path"]), adapter)), None)


def _is_of(path: str, adapter: Adapter) -> bool:
    """Return whether a file is what this site exports of the adapter: its name, perhaps with the precision."""
    name = re.split(r"[/\\]", path)[-1]
    return re.fullmatch(re.escape(adapter.file_stem) + r"-adapter(-[a-z0-9_]+)?\.gguf", name) is not None
