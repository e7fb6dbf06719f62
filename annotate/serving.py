"""Whether the model server holds a model in memory, and having it load one before anybody asks.

`transformers serve` loads a folder when it is first asked for by name and lets it go when idle; other servers hold
what they list. Asking for one token loads a model of either sort.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.cache import cache

from annotate import model_server
from annotate.models import LanguageModel

log = logging.getLogger(__name__)

_STATES = {
    "loaded": "In memory: it answers at once.",
    "idle": "Not in memory: the server loads it when it is first asked, which takes some seconds.",
    "loading": "Being loaded …",
    "missing": "The server does not list it; check the served name.",
    "unreachable": "The model server cannot be reached.",
}


@dataclass(frozen=True)
class Serving:
    state: str
    said: str
    problem: str = ""

    @property
    def is_loading(self) -> bool:
        return self.state == "loading"

    @property
    def can_load(self) -> bool:
        return self.state in ("idle", "failed")


def serving(model: LanguageModel) -> Serving:
    """As the server says it now, within a few seconds."""
    told = cache.get(_key(model), "")
    if told == "loading":
        return Serving("loading", _STATES["loading"])
    try:
        held = model_server.is_in_memory(model)
    except model_server.ModelServerError as error:
        return Serving("unreachable", _STATES["unreachable"], error.remedy)
    if held:
        return Serving("loaded", _STATES["loaded"])
    if told:
        return Serving("failed", "It could not be loaded.", told)
    state = "missing" if held is None and model.endpoint else "idle"
    return Serving(state, _STATES[state])


def load(model: LanguageModel) -> None:
    """Have the server load it, by a thread that outlives the request. A second call while it loads does nothing."""
    if cache.get(_key(model)) not in (None, "loading"):
        cache.delete(_key(model))  # it failed a while ago
    if cache.add(_key(model), "loading", timeout=600):
        _start(model)


def _start(model: LanguageModel) -> None:
    threading.Thread(target=_warm, args=(model,), daemon=True).start()


def _warm(model: LanguageModel) -> None:
    try:
        hello = [{"role": "user", "content": "Hello"}]
        model_server.complete_chat(model, hello, max_new_tokens=1, temperature=0.0, top_p=1.0)
        cache.delete(_key(model))
    except model_server.ModelServerError as error:
        log.warning("%s could not be loaded: %s (%s)", model, error, error.detail)
        cache.set(_key(model), model_server.told_to_researchers(model, error), timeout=300)


def _key(model: LanguageModel) -> str:
    return f"serving:{model.pk}"


def address_of(model: LanguageModel) -> str:
    """The server's address for a program, without a name or password that it may carry."""
    parts = urlsplit(model.server_url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()
