"""List the verdicts on two answers: as in the form, on the button, and by key. Keys stand in the order of the scale.

`model_a:3` is winner model_a with strength 3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    value: str
    action: str
    label: str
    key: str
    side: str = ""
    letter: str = ""  # its second key, the same in the arena


def value_of(winner: str, strength: int | None) -> str:
    """Return a winner and its strength as the form's choice has them."""
    return f"{winner}:{strength}" if strength else winner


VERDICTS = (
    Verdict("model_a:3", "a_much_better", "A is much better", "1", "toa"),
    Verdict("model_a:2", "a_better", "A is better", "2", "toa", "a"),
    Verdict("model_a:1", "a_slightly_better", "A is slightly better", "3", "toa"),
    Verdict("tie", "same", "About the same", "4", "", "t"),
    Verdict("model_b:1", "b_slightly_better", "B is slightly better", "5", "tob"),
    Verdict("model_b:2", "b_better", "B is better", "6", "tob", "b"),
    Verdict("model_b:3", "b_much_better", "B is much better", "7", "tob"),
    Verdict("both_bad", "both_bad", "Both are bad", "0", "", "x"),
)
