"""Secrets that one run needs, from its worker to its recipe: by a pipe that the recipe inherits, and by nothing else.

They stand in no file, on no command line and in no environment variable, so that neither the run directory nor a
process list nor another recipe's /proc holds them. The pipe is read once, to its end, and closed. By hand, without a
worker, the key of an endpoint is given as ASSAY_ENDPOINT_KEY. Knows neither Django nor torch.
"""

from __future__ import annotations

import json
import os

DESCRIPTOR = "ASSAY_SECRETS_DESCRIPTOR"  # the number of the pipe's read end
BY_HAND = "ASSAY_ENDPOINT_KEY"
_LONGEST = 60_000  # bytes: what a pipe holds before anybody reads it


def pipe_with(secrets: dict[str, str]) -> int:
    """Return the read end of a pipe that holds the secrets, for a child to inherit; the caller closes its own copy."""
    data = json.dumps(secrets).encode()
    if len(data) > _LONGEST:
        raise ValueError(f"The secrets of a run are at most {_LONGEST:,} bytes.")
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, data)
    finally:
        os.close(write_end)
    return read_end


def read() -> dict[str, str]:
    """Return the secrets by what they are for. A second time there are none: whoever needs one keeps it."""
    descriptor = os.environ.pop(DESCRIPTOR, "")
    if descriptor:
        with os.fdopen(int(descriptor), "rb") as pipe:
            return json.loads(pipe.read() or b"{}")
    by_hand = os.environ.pop(BY_HAND, "")
    return {"parent": by_hand, "judge": by_hand} if by_hand else {}
