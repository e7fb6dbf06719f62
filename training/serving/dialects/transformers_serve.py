"""`transformers serve`: it loads the folder that a request names, when it is first asked for it.

Ours (`training.recipes.serve`) takes vLLM's two calls, too, and so loads it before anybody asks.
"""

from __future__ import annotations

from training.serving.dialects import vllm
from training.serving.dialects.exchange import Adapter, Loaded, Send
from training.serving.dialects.vllm import present as present
from training.serving.dialects.vllm import unload as unload

NAME = "transformers"


def load(send: Send, adapter: Adapter) -> Loaded | None:
    """Load the adapter; None from a server without that call, which loads the folder by itself. Raises NotLoaded."""
    try:
        return vllm.load(send, adapter)
    except vllm.NoRoute:
        return None
