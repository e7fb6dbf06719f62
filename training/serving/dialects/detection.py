"""Find out which dialect a server speaks, by asking it: nobody has to say."""

from __future__ import annotations

from types import ModuleType

from training.serving.dialects import llama_cpp, vllm
from training.serving.dialects.exchange import Reply, Send, of_status

TRANSFORMERS = "transformers"  # loads the folder that it is asked for; ours takes vLLM's two calls, too
_MODULES: dict[str, ModuleType] = {vllm.NAME: vllm, llama_cpp.NAME: llama_cpp, TRANSFORMERS: vllm}


def dialect_of(send: Send) -> str:
    """Return the name of the server's dialect; vLLM's for one that is not known. Raises NotLoaded."""
    models = send("GET", "models", None)
    if models.status != 200:
        raise of_status(models)
    if _lists_status(models):
        return TRANSFORMERS
    return llama_cpp.NAME if llama_cpp.is_spoken(send("GET", "/lora-adapters", None)) else vllm.NAME


def module_of(dialect: str) -> ModuleType:
    """Return the module with `load`, `unload` and `present` of a dialect."""
    return _MODULES[dialect]


def _lists_status(models: Reply) -> bool:
    """Return whether the list says of each model if it is in memory, as `transformers serve` alone does."""
    body = models.json
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        return False
    return not entries or all(isinstance(entry, dict) and "status" in entry for entry in entries)
