"""Describe right answers in words: "A is better", "4 or 5 stars"."""

from __future__ import annotations

from annotate.models import Winner

_WINNERS = {
    Winner.MODEL_A.value: "A is better",
    Winner.MODEL_B.value: "B is better",
    Winner.TIE.value: "about the same",
    Winner.BOTH_BAD.value: "both are bad",
}


def in_words(expected: dict[str, list]) -> str:
    return "; ".join(_field(name, values) for name, values in expected.items())


def _field(name: str, values: list) -> str:
    if name == "winner":
        return " or ".join(_WINNERS.get(value, str(value)) for value in values)
    if name == "thumbs":
        return " or ".join("thumbs up" if value else "thumbs down" for value in values)
    steps = " or ".join(map(str, values))
    return f"{steps} stars" if name == "stars" else f"{name.removeprefix('aspects.')}: {steps}"
