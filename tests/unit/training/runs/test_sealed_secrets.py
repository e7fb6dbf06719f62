"""Secrets of a run are sealed for one process: nobody else reads them, and for another attempt they open nothing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from training.runs.launchers import sealed_secrets
from training.runs.launchers.sealed_secrets import NotSealedForThis

SECRETS = {"parent": ("https://models.example/v1", "sk-of-a-laboratory")}


@pytest.fixture
def key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def test_the_holder_of_the_key_reads_them(key: X25519PrivateKey) -> None:
    sealed = sealed_secrets.seal(SECRETS, sealed_secrets.public_text(key), "000007 1")
    assert "sk-of" not in sealed and "models.example" not in sealed
    assert sealed_secrets.unseal(sealed, key, "000007 1") == {
        "parent": ["https://models.example/v1", "sk-of-a-laboratory"]
    }


def test_nobody_else_does(key: X25519PrivateKey) -> None:
    sealed = sealed_secrets.seal(SECRETS, sealed_secrets.public_text(key), "000007 1")
    for other, purpose in ((X25519PrivateKey.generate(), "000007 1"), (key, "000007 2")):
        with pytest.raises(NotSealedForThis):
            sealed_secrets.unseal(sealed, other, purpose)


@pytest.mark.parametrize("sealed", ["", "x", "00.y", f"{'00' * 32}.gAAAA", "é"])
def test_what_was_not_sealed_opens_nothing(key: X25519PrivateKey, sealed: str) -> None:
    with pytest.raises(NotSealedForThis):
        sealed_secrets.unseal(sealed, key, "000007 1")


def test_twice_sealed_is_not_twice_the_same(key: X25519PrivateKey) -> None:
    public = sealed_secrets.public_text(key)
    assert sealed_secrets.seal(SECRETS, public, "p") != sealed_secrets.seal(SECRETS, public, "p")
