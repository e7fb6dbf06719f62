"""List the verdicts on two answers: as in the form, on the button, and by key.

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


VERDICTS = (
    Verdict("model_a:3", "a_much_better", "A is much better", "1", "toa"),
    Verdict("model_a:2", "a_better", "A is better", "2", "toa"),
    Verdict("model_a:1", "a_slightly_better", "A is slightly better", "7", "toa"),
    Verdict("tie", "same", "About the same", "3"),
    Verdict("model_b:1", "b_slightly_better", "B is slightly better", "8", "tob"),
    Verdict("model_b:2", "b_better", "B is better", "4", "tob"),
    Verdict("model_b:3", "b_much_better", "B is much better", "5", "tob"),
    Verdict("both_bad", "both_bad", "Both are bad", "0"),
)
