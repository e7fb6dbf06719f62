"""How many votes at once are usual: above the soft limits votes are held, above the hard ones nothing is taken."""

from __future__ import annotations

from annotate.models import Hold, User
from annotate.visitors import BATTLES_PER_ADDRESS, BATTLES_PER_PERSON, bound

HELD_ABOVE_PER_PERSON = 50  # in visitors.WINDOW_SECONDS: one in twelve seconds, all the time
HELD_ABOVE_PER_ADDRESS = 450  # a class of thirty that votes every twenty seconds
MOST_PER_PERSON, MOST_PER_ADDRESS = BATTLES_PER_PERSON, BATTLES_PER_ADDRESS
WITHOUT_END = 10**9


def busy(
    *, visitor: str, user: User | None, address: str, is_member: bool, wider: tuple[tuple[str, int], ...] = ()
) -> str:
    """The reason to hold this vote for, or ""; TooMany above the hard limits.

    Members answer for what they do, and share an office: theirs are counted by person alone, and never refused.
    """
    person = f"votes:user:{user.pk}" if user else f"votes:visitor:{visitor}"
    of_person = bound(person, WITHOUT_END if is_member else MOST_PER_PERSON, "votes")
    of_address = 0.0
    for network, factor in [(address, 1), *wider] if address and not is_member else []:
        here = bound(f"votes:address:{network}", MOST_PER_ADDRESS * factor, "votes")
        of_address = max(of_address, here / factor)  # a wider network does what so many addresses may
    if of_person > HELD_ABOVE_PER_PERSON:
        return Hold.BUSY_VISITOR
    return Hold.BUSY_ADDRESS if of_address > HELD_ABOVE_PER_ADDRESS else ""
