"""Seal the secrets of a run for one process on a node, so that the run directory never holds them in the clear.

That process makes a key pair when it starts and keeps the private key in its memory; the worker seals the secrets for
the public key that it finds in the report (X25519, HKDF, Fernet). What names the attempt takes part in the key: sealed
for one, it opens nothing for another. Pure: no Django.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class NotSealedForThis(Exception):
    """Raised when what was sealed opens with another key, for another attempt, or not at all."""


def public_text(key: X25519PrivateKey) -> str:
    """Return the public half of a key, to be written down."""
    return key.public_key().public_bytes_raw().hex()


def seal(secrets: Mapping[str, Sequence[str]], public_key: str, purpose: str) -> str:
    """Return the secrets, readable for the holder of that key alone. Raises ValueError for what is no key."""
    own = X25519PrivateKey.generate()
    shared = own.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public_key)))
    data = json.dumps({role: list(pair) for role, pair in secrets.items()}).encode()
    return f"{public_text(own)}.{_fernet(shared, purpose).encrypt(data).decode()}"


def unseal(sealed: str, key: X25519PrivateKey, purpose: str) -> dict[str, Sequence[str]]:
    """Return the secrets. Raises NotSealedForThis."""
    sender, _, token = sealed.partition(".")
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(sender)))
        return json.loads(_fernet(shared, purpose).decrypt(token.encode()))
    except (ValueError, InvalidToken) as error:
        raise NotSealedForThis("The secrets were not sealed for this process.") from error


def _fernet(shared: bytes, purpose: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"assay run secrets: {purpose}".encode())
    return Fernet(base64.urlsafe_b64encode(derived.derive(shared)))
