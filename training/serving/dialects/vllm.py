"""vLLM's two calls, from its documentation and its source: load and unload an adapter by name and path.

    POST /v1/load_lora_adapter    {"lora_name", "lora_path"}   200 text; 400 loaded already, or not taken;
                                                               404 path not found, or no such route
    POST /v1/unload_lora_adapter  {"lora_name"}                200 text; 404 not loaded, or no such route
    GET  /v1/models                                            base and adapters

The routes exist with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True alone, and load nothing without --enable-lora. How many
adapters vLLM has registered is not bounded; --max-loras and --max-cpu-loras say how many are kept ready. Other servers
speak the same two calls, ours (`training.recipes.serve`) among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from training.serving.dialects.exchange import Adapter, Loaded, NotLoaded, Reply, Send, error_text, of_status

NAME = "vllm"
_LOAD, _UNLOAD = "load_lora_adapter", "unload_lora_adapter"
_RANK = re.compile(r"rank (\d+) is greater than max_lora_rank (\d+)", re.IGNORECASE)
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
# (what the message holds, what happened, remedy), the first that fits.
_MEANINGS = (
    (
        "lora is not enabled",
        "The server runs without LoRA.",
        "Start it with --enable-lora --max-lora-rank 64.",
    ),
    (
        "no adapter found",
        "The server does not see the adapter's folder.",
        "It must be able to read this site's data folder: mount it there, and enter the path on the base's page.",
    ),
    (
        "expected target modules",
        "The server does not support adapters on these layers.",
        "Export the merged model, and serve that.",
    ),
    (
        "not supported",
        "The server does not support this adapter.",
        "Export the merged model, and serve that.",
    ),
)


class NoRoute(NotLoaded):
    """Raised when a server has no such call, rather than no such adapter."""


def load(send: Send, adapter: Adapter) -> Loaded:
    """Load the adapter under its name, in place of what may have had it. Raises NotLoaded."""
    reply = send("POST", _LOAD, _body(adapter))
    if reply.status == 400 and "already" in error_text(reply) and "loaded" in error_text(reply):
        unload(send, adapter)
        reply = send("POST", _LOAD, _body(adapter))
    if reply.status != 200:
        raise meaning(reply)
    return Loaded()


def unload(send: Send, adapter: Adapter) -> None:
    """Take the adapter out of memory; one that is not there is no error. Raises NotLoaded."""
    reply = send("POST", _UNLOAD, {"lora_name": adapter.name})
    if reply.status not in (200, 404):
        raise of_status(reply)


def present(send: Send, adapters: Iterable[Adapter]) -> dict[str, Loaded]:
    """Return those of the adapters that the server answers to, by name. Raises NotLoaded for what is no list of
    models."""
    reply = send("GET", "models", None)
    body = reply.json
    if reply.status != 200 or not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise of_status(reply)
    listed = {str(entry.get("id")) for entry in body["data"] if isinstance(entry, dict)}
    return {adapter.name: Loaded() for adapter in adapters if adapter.name in listed}


def meaning(reply: Reply) -> NotLoaded:
    """Return what a refusal means and what to do."""
    text, detail = error_text(reply), f"HTTP {reply.status}: {reply.text[:500]}"
    if _has_no_route(reply):
        return NoRoute(
            "The server cannot load adapters while it runs.",
            "vLLM: start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment, and --enable-lora. For "
            "other servers, export the merged model.",
            detail,
        )
    if found := _RANK.search(text):
        rank, most = int(found[1]), int(found[2])
        fitting = next((offered for offered in _RANKS if offered >= rank), rank)
        return NotLoaded(
            f"The adapter has rank {rank}, but the server allows at most {most}.",
            f"Start it with --max-lora-rank {fitting}.",
            detail,
        )
    for part, what, remedy in _MEANINGS:
        if part in text.lower():
            return NotLoaded(what, remedy, detail)
    if "maximum number" in text.lower() or "max_loaded_loras" in text.lower():
        return NotLoaded(
            "The server has its maximum number of adapters.", "Another adapter will be unloaded.", detail, is_full=True
        )
    return of_status(reply)


def _has_no_route(reply: Reply) -> bool:
    """Return whether the server has no such address, rather than no such adapter."""
    if reply.status == 405:
        return True
    return reply.status == 404 and (reply.json in ({"detail": "Not Found"}, None) or "File Not Found" in reply.text)


def _body(adapter: Adapter) -> dict[str, str]:
    return {"lora_name": adapter.name, "lora_path": adapter.folder}
