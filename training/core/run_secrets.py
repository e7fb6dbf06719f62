"""Secrets that one run needs, from its worker to its recipe: by a pipe that the recipe inherits, and by nothing else.

They stand in no file, on no command line and in no environment variable, so that neither the run directory nor a
process list nor another recipe's /proc holds them. The pipe is read once, to its end, and closed. Each comes with the
address that it is for, since config.json was written a moment earlier and may name another. By hand, without a
worker, the key of an endpoint is given as ASSAY_ENDPOINT_KEY. Knows neither Django nor torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from training.core.run_directory import RecipeFailure

DESCRIPTOR = "ASSAY_SECRETS_DESCRIPTOR"  # the number of the pipe's read end
BY_HAND = "ASSAY_ENDPOINT_KEY"
_LONGEST = 60_000  # bytes: what a pipe holds before anybody reads it


def pipe_with(secrets: Mapping[str, Sequence[str]]) -> int:
    """Return the read end of a pipe that holds {role: (address, key)}, for a child to inherit.

    The caller closes its own copy."""
    data = json.dumps(secrets).encode()
    if len(data) > _LONGEST:
        raise ValueError(f"The secrets of a run are at most {_LONGEST:,} bytes.")
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, data)
    finally:
        os.close(write_end)
    return read_end


def key_for(role: str, url: str) -> str:
    """Return the key to ask `url` with; "" without one. Raises RecipeFailure for one that is for another address.

    A second time there is none: whoever needs it keeps it."""
    return keys_for({role: url})[role]


def keys_for(urls: Mapping[str, str]) -> dict[str, str]:
    """Return the keys to ask these addresses with, by role, as `key_for` does for one."""
    by_hand = os.environ.pop(BY_HAND, "")
    secrets, keys = _read(), {}
    for role, url in urls.items():
        address, keys[role] = secrets.get(role, (url, by_hand))
        if address != url:
            raise _moved()
    return keys


def _moved() -> RecipeFailure:
    return RecipeFailure(
        "endpoint_moved",
        "The model's address changed while this run started, so the key does not match the run's address.",
        "Resume this run: it then uses the new address.",
    )


def _read() -> dict[str, Sequence[str]]:
    """Return (address, key) by what they are for."""
    descriptor = os.environ.pop(DESCRIPTOR, "")
    if descriptor:
        with os.fdopen(int(descriptor), "rb") as pipe:
            return json.loads(pipe.read() or b"{}")
    return {}
