"""The key of a model's endpoint, encrypted at rest, and readable for its own address alone.

Each address has an encryption key of its own, derived from the site's secret and the address (HKDF). So a sealed key
that stands in a row beside another address opens nothing there: a key never goes to a server that it was not given for.
Nothing but `key_of` reads it, and nothing but the request to that address gets it.

A key that was typed into a form that was wrong elsewhere is kept in the same way, in the session of who typed it, until
the form is right: it need not be typed again, and no page shows it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase

from annotate.core.errors import Refused
from annotate.core.network import outbound
from annotate.models import LanguageModel

LONGEST_KEY = 2000  # characters
_TYPED = "typed-key"
_PURPOSE = b"assay: the key of a model's endpoint, 1\x00"


class KeyLost(Exception):
    """A key that cannot be read any more: it was sealed for another address, or with a secret that is gone."""


def seal(key: str, address: str) -> str:
    """Return the key as the database keeps it, bound to `address`; "" for none."""
    return _box(address).encrypt(key.encode()).decode() if key else ""


def key_of(model: LanguageModel) -> str:
    """Return the key that its endpoint is asked with; "" without one. Raises KeyLost."""
    if not (model.sealed_key and model.endpoint):
        return ""
    try:
        return _box(model.endpoint).decrypt(model.sealed_key.encode()).decode()
    except InvalidToken as error:
        raise KeyLost(f"The key of {model.name} cannot be read; enter it again on the model's page.") from error


def has_key(model: LanguageModel, key: str) -> bool:
    """Return whether its endpoint is asked with this key; not with one that cannot be read."""
    try:
        return key_of(model) == key
    except KeyLost:
        return False


def reseal(model: LanguageModel) -> str:
    """Return the key sealed with the newest secret. Raises KeyLost."""
    return seal(key_of(model), model.endpoint)


@contextmanager
def typed_key(session: SessionBase, key: str, endpoint: str) -> Iterator[str]:
    """Give the key that a form tries: the one typed now, else the one that was typed for this address before.

    One that the server refuses is forgotten, and so is one that was registered."""
    key = key.strip() or typed_for(session, endpoint)
    try:
        yield key
    except Refused as refused:
        if "key" in refused.errors:
            session.pop(_TYPED, None)
        else:
            keep_typed(session, key, endpoint)
        raise
    session.pop(_TYPED, None)


def keep_typed(session: SessionBase, key: str, endpoint: str) -> None:
    with suppress(ValueError):  # what was typed is no address: then there is nothing that the key is for
        if key.strip() and endpoint.strip():
            session[_TYPED] = seal(key.strip(), endpoint.strip())


def typed_for(session: SessionBase, endpoint: str) -> str:
    """Return the key that was typed for this address; "" for none, and for one of another address."""
    sealed = str(session.get(_TYPED, ""))
    try:
        return _box(endpoint.strip()).decrypt(sealed.encode()).decode() if sealed else ""
    except (InvalidToken, ValueError):
        return ""


def bound_to(endpoint: str) -> str:
    """Return the address that a key is for: scheme, host, port and path."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{outbound.host_and_port(endpoint)}{parts.path.rstrip('/')}"


def _box(address: str) -> MultiFernet:
    return MultiFernet([Fernet(_derived(secret, address)) for secret in _secrets()])


def _derived(secret: str, address: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE + bound_to(address).encode())
    return base64.urlsafe_b64encode(derived.derive(secret.encode()))


def _secrets() -> Sequence[str]:
    """Return the secrets that may have sealed a key, the one that seals first."""
    return settings.KEY_SECRETS or [settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)]
