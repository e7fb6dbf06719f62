"""Find out which dialect a server speaks, by asking it: nobody has to say."""

from __future__ import annotations

from types import ModuleType

from training.serving.dialects import llama_cpp, transformers_serve, vllm
from training.serving.dialects.exchange import Reply, Send, of_status

_MODULES: dict[str, ModuleType] = {module.NAME: module for module in (vllm, llama_cpp, transformers_serve)}


def dialect_of(send: Send) -> str:
    """Return the name of the server's dialect; vLLM's for one that is not known. Raises NotLoaded."""
    models = send("GET", "models", None)
    if models.status != 200:
        raise of_status(models)
    if _lists_status(models):
        return transformers_serve.NAME
    return llama_cpp.NAME if llama_cpp.is_spoken(send("GET", "/lora-adapters", None)) else vllm.NAME


def module_of(dialect: str) -> ModuleType:
    """Return the module with `load`, `unload` and `present` of a dialect.

    `load` returns None where the server loads a folder by itself when it is first asked."""
    return _MODULES[dialect]


def _lists_status(models: Reply) -> bool:
    """Return whether the list says of each model if it is in memory, as `transformers serve` alone does."""
    body = models.json
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        return False
    return not entries or all(isinstance(entry, dict) and "status" in entry for entry in entries)
