"""Tell whether the model server holds a model in memory, and have it load one before anybody asks.

`transformers serve` loads a folder when it is first asked for by name and lets it go when idle; other servers hold
what they list. Asking for one token loads a model of either sort.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.cache import cache

from annotate.language_models import model_server, model_server_errors
from annotate.models import LanguageModel, ServedAdapter

log = logging.getLogger(__name__)

_STATES = {
    "loaded": "In memory: the model answers at once.",
    "idle": "Not in memory: the server loads it for the first question, which takes some seconds.",
    "loading": "Loading …",
    "missing": "The server does not list this model; check the served name.",
    "unreachable": "The model server cannot be reached.",
    "waiting": "The server is loading its adapter …",
    "evicted": "Its adapter is not in memory. If you load it, another adapter is unloaded.",
}
UNSERVED = (
    "No server serves this model, so it has battles on stored answers only. Add it to the model server "
    "as {name} (vLLM: --lora-modules), or sample its answers."
)
ASKED_SECONDS = 5  # so long nobody else asks it
LISTED_SECONDS = 60  # so long a server's list is believed
_AWAY = ("away",)


@dataclass(frozen=True)
class Serving:
    state: str
    message: str
    problem: str = ""

    @property
    def is_loading(self) -> bool:
        return self.state == "loading"

    @property
    def can_load(self) -> bool:
        return self.state in ("idle", "failed", "evicted")


def serving(model: LanguageModel) -> Serving:
    """Return the state as the server says it now, within a few seconds; of an adapter that is not in the memory of its
    base's server, as its row says."""
    if (row := _row_of(model)) is not None and (by_row := _state_of_row(row)) is not None:
        return by_row
    cached = cache.get(_key(model), "")
    if cached == "loading":
        return Serving("loading", _STATES["loading"])
    try:
        is_loaded = model_server.is_in_memory(model)
    except model_server_errors.ModelServerError as error:
        return Serving("unreachable", _STATES["unreachable"], error.remedy)
    if is_loaded:
        return Serving("loaded", _STATES["loaded"])
    if cached:
        return Serving("failed", "The model could not be loaded.", cached)
    if not is_served(model):
        return Serving("unserved", UNSERVED.format(name=model.server_name))
    state = "missing" if is_loaded is None and model.endpoint else "idle"
    return Serving(state, _STATES[state])


def _row_of(model: LanguageModel) -> ServedAdapter | None:
    return ServedAdapter.objects.filter(model=model).select_related("base").first()


def _state_of_row(row: ServedAdapter) -> Serving | None:
    """Return what the row knows better than a server: of an adapter that waits, failed, or made room for another."""
    if row.base is None:
        return None
    states = ServedAdapter.State
    if row.state in (states.WAITING, states.LOADING):
        return Serving("loading", _STATES["waiting"])
    if row.state == states.FAILED:
        return Serving("failed", "Its adapter could not be loaded.", row.problem)
    return Serving("evicted", _STATES["evicted"], row.problem) if row.is_away else None


def is_served(model: LanguageModel) -> bool:
    """Return whether somebody would answer for it now, as far as is known.

    A server with a list of its own, such as vLLM, knows nothing of a child that was trained here until it is told. One
    that loads folders by itself serves every child; one that cannot be asked is given the benefit of the doubt, and so
    is an endpoint, which may answer to more names than it lists. Call it outside of transactions.
    """
    return bool(served_of([model]))


def served_of(models: Sequence[LanguageModel]) -> list[LanguageModel]:
    """Return those of the models that are served. Each server is asked once, or its list looked up once."""
    away = _away(models)
    models = [model for model in models if model.pk not in away and (model.folder or model.endpoint)]
    names_by_url = {url: _held_models(url) for url in {model.server_url for model in models if not model.endpoint}}

    def answers(model: LanguageModel) -> bool:
        names = None if model.endpoint else names_by_url[model.server_url]
        return names is None or model.server_name in names

    return [model for model in models if answers(model)]


def _away(models: Sequence[LanguageModel]) -> set[int]:
    """Return the adapters that the server of their base has not in memory: nobody else answers for them."""
    return set(ServedAdapter.objects.filter(model__in=models).away().values_list("model", flat=True))


def answering(models: Sequence[LanguageModel]) -> list[LanguageModel]:
    """Return those that are served, but none whose server is known to be down: for whoever can do without them."""
    served = served_of(models)
    return [model for model in served if model.endpoint or cache.get(_held_key(model.server_url)) != _AWAY]


def _held_models(url: str) -> frozenset[str] | None:
    key = _held_key(url)
    if (cached := cache.get(key)) is None:
        if not cache.add(f"{key}:asked", True, timeout=ASKED_SECONDS):
            return None  # somebody asks it just now: one that hangs must not hold everybody up
        try:
            names = model_server.held_models(url)
        except model_server_errors.NotReached:
            cache.set(key, _AWAY, timeout=ASKED_SECONDS)
            return None
        except model_server_errors.ModelServerError:
            names = None
        cached = ("any",) if names is None else ("these", names)
        cache.set(key, cached, timeout=LISTED_SECONDS)
    return cached[1] if cached[0] == "these" else None


def _held_key(url: str) -> str:
    return f"held:{hashlib.sha256(url.encode()).hexdigest()}"


def asked_now(model: LanguageModel) -> LanguageModel:
    """Return the model as it is asked now: an adapter may have come or gone since it was read.

    Raises ModelServerError for one that made room for another, and has it loaded for whoever asks again."""
    model = LanguageModel.objects.get(pk=model.pk)
    if _away([model]) and (row := _row_of(model)) is not None:
        row.ask()
        raise model_server_errors.ModelServerError(
            "Its adapter is not in memory.", "The server is loading it; ask again in a few seconds."
        )
    return model


def load(model: LanguageModel) -> None:
    """Have the server load it, by a thread that outlives the request; an adapter by the background worker. A second
    call while it loads does nothing."""
    if (row := _row_of(model)) is not None and row.can_be_asked_for:
        row.ask()
        return
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
    except model_server_errors.ModelServerError as error:
        log.warning("%s could not be loaded: %s (%s)", model, error, error.detail)
        cache.set(_key(model), model_server_errors.describe_for_researchers(model, error), timeout=300)


def _key(model: LanguageModel) -> str:
    return f"serving:{model.pk}"


def address_of(model: LanguageModel) -> str:
    """Return the server's address for a program, without a name or password that it may carry."""
    parts = urlsplit(model.server_url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()
