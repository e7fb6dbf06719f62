"""Reach the server of a base: with its key, its address as the outbound rules allow it, and words for what fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from annotate.core.chat_api import refusals
from annotate.core.db.connections import give_back
from annotate.core.network import outbound
from annotate.language_models import model_keys, model_server, model_server_errors
from annotate.models import LanguageModel
from training.serving.dialects.exchange import NotLoaded, Reply, Send

LOAD_SECONDS = 120.0  # a large adapter from a slow disk
CONNECT_SECONDS = 5.0


@contextmanager
def connected(base: LanguageModel) -> Iterator[Send]:
    """Give what sends requests to the base's server. Raises NotLoaded where none arrives, or the key is lost.

    Outside of transactions: a server may take long. The key is in no reply that comes back.
    """
    try:
        key = model_keys.key_of(base)
    except model_keys.KeyLost as error:
        raise NotLoaded(str(error), "Assay then tries again automatically.") from error
    url = base.server_url.rstrip("/")
    root, allowed = url.removesuffix("/v1"), model_server.allowed_for(base)
    timeout = httpx.Timeout(10, connect=CONNECT_SECONDS, read=LOAD_SECONDS)
    give_back()
    try:
        with (
            outbound.client(url, allowed=allowed, timeout=timeout, key=key) as below,
            outbound.client(root, allowed=allowed, timeout=timeout, key=key) as above,
        ):

            def send(method: str, path: str, body: Any) -> Reply:
                client = above if path.startswith("/") else below
                with client.stream(method, path.lstrip("/"), json=body) as response:
                    text = outbound.body_of(response, until=time.monotonic() + LOAD_SECONDS)
                return Reply(response.status_code, refusals.without_key(text.decode("utf-8", "replace"), key))

            yield send
    except httpx.HTTPError as error:
        told = model_server_errors.in_words(error, url)
        raise NotLoaded(told.what, told.remedy, told.detail) from error
