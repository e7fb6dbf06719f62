"""Seeds that follow from a run's seed and from what they are for, so that a run can go on where it was cut off."""

from __future__ import annotations

import hashlib


def sequence_seed(run_seed: int, *parts: int | str) -> int:
    """Return a seed of 63 bits that depends on the run's seed and on what names the sequence."""
    digest = hashlib.blake2b(repr((run_seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
