"""Issue a small puzzle that a browser solves by itself while its owner reads: cheap for one vote, costly for a million.

As in Hashcash (Back, 2002): find a number n such that SHA-256 of "challenge.n" begins with so many zero bits. The
challenge is signed and names its battle, so that it is worth one vote, here, until it expires; nothing is stored
for it. No service outside is asked, nobody clicks on pictures, and no screen reader meets it.
"""

from __future__ import annotations

import hashlib
import secrets
import time

from django.utils.crypto import constant_time_compare, salted_hmac

from annotate.core.counting import count, counted

FEWEST_BITS, MOST_BITS = 14, 20  # 16,000 tries, a tenth of a second in a browser; a million, some seconds
USUAL_A_MINUTE = 120  # puzzles of a whole site; each doubling beyond adds a bit
USUAL_PER_ADDRESS = 40  # within the window below
ADDRESS_SECONDS = 600
VALID_SECONDS = 2 * 3600
LONGEST = 300


def issue(
    battle_token: str, *, address: str = "", wider: tuple[tuple[str, int], ...] = (), now: float | None = None
) -> str:
    """Return a challenge: version.bits.expires.salt.signature"""
    expires = int((time.time() if now is None else now) + VALID_SECONDS)
    head = f"1.{_bits(battle_token, address, wider)}.{expires}.{secrets.token_hex(8)}"
    return f"{head}.{_signature(head, battle_token)}"


def is_solved(proof: str, battle_token: str, *, now: float | None = None) -> bool:
    """Return whether this is "challenge.number" for that battle, still valid, and right. Any text is answered, none
    raises."""
    parts = proof.split(".")
    if len(proof) > LONGEST or len(parts) != 6 or not proof.isascii():
        return False
    version, bits, expires, _, signature, number = parts
    if version != "1" or not all(part.isascii() and part.isdigit() for part in (bits, expires, number)):
        return False
    if not constant_time_compare(signature, _signature(".".join(parts[:4]), battle_token)):
        return False
    if int(expires) < (time.time() if now is None else now):
        return False
    return zero_bits(hashlib.sha256(proof.encode()).digest()) >= int(bits)


def solve(challenge: str) -> str:
    """Solve the puzzle, for programs that vote; a browser does the same in static/annotate/arena/proof.js."""
    bits, number = int(challenge.split(".")[1]), 0
    start = hashlib.sha256(f"{challenge}.".encode())
    while True:
        tried = start.copy()
        tried.update(str(number).encode())
        if zero_bits(tried.digest()) >= bits:
            return f"{challenge}.{number}"
        number += 1


def zero_bits(digest: bytes) -> int:
    return len(digest) * 8 - int.from_bytes(digest, "big").bit_length()


def _bits(battle_token: str, address: str, wider: tuple[tuple[str, int], ...]) -> int:
    """Return the puzzle's bits: more while many battles ask for one, here or from one address.

    A battle counts once, and battles are bounded: else one visitor who asks again and again would make it hard for all.
    """
    is_first = count(f"puzzle:{battle_token}", seconds=VALID_SECONDS) == 1
    counter = count if is_first else counted
    busy = counter("puzzles", seconds=60) / USUAL_A_MINUTE
    for network, factor in [(address, 1), *wider] if address else []:
        busy = max(busy, counter(f"puzzles:{network}", seconds=ADDRESS_SECONDS) / (USUAL_PER_ADDRESS * factor))
    return min(FEWEST_BITS + max(int(busy).bit_length() - 1, 0), MOST_BITS)


def _signature(head: str, battle_token: str) -> str:
    return salted_hmac("annotate.proof_of_work", f"{head}.{battle_token}", algorithm="sha256").hexdigest()[:40]
