"""Say in a sentence or two what came of a run, or what has come of it so far. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.runs.figures.curves import is_number, number

Values = dict[str, float]


@dataclass(frozen=True)
class _Measure:
    name: str
    words: str
    is_held_out: bool  # measured on what the run did not learn from: then better is better
    more_is_better: bool


# What tells most comes first.
_MEASURES = (
    _Measure("held_out_score", "the score on held-out prompts", True, True),
    _Measure("score_mean", "the mean score", False, True),
    _Measure("validation_loss", "the loss on held-out text", True, False),
    _Measure("eval_loss", "the loss on held-out rows", True, False),
    _Measure("accuracy", "the accuracy on held-out pairs", True, True),
    _Measure("score", "the score", False, True),
    _Measure("loss", "the training loss", False, False),
)


@dataclass(frozen=True)
class Verdict:
    text: str
    is_bad: bool = False


def verdict(
    state: str, result: dict[str, Any], firsts: Values, lasts: Values, completions: int = 0, of_kind: str = ""
) -> Verdict | None:
    """Return the recipe's own sentence or that of its kind, else one about its leading figure; None where there is
    nothing to say.

    `firsts` and `lasts` are the first and the last value of each figure.
    """
    if isinstance(own := result.get("verdict"), str) and own:
        why = result.get("why")
        return Verdict(f"{own} {why}" if why else own, result.get("beats_chance") is False)
    if state not in ("running", "succeeded"):
        return None
    if completions:
        return Verdict(f"It sampled {completions:,} completion{'s' if completions > 1 else ''}.")
    if of_kind:
        return Verdict(of_kind)
    sentences = list(_sentences(state == "succeeded", firsts, lasts))
    return Verdict(" ".join(text for text, _ in sentences), any(bad for _, bad in sentences)) if sentences else None


def _sentences(is_over: bool, firsts: Values, lasts: Values) -> Iterator[tuple[str, bool]]:
    """Yield sentences, and whether each says that it got worse."""
    measure = next((one for one in _MEASURES if one.name in lasts and one.name in firsts), None)
    if measure is not None:
        first, last = firsts[measure.name], lasts[measure.name]
        is_worse = measure.is_held_out and last != first and (last > first) is not measure.more_is_better
        text = _change(measure.words, first, last, is_over)
        if not is_over:
            yield f"So far {text}", False
        elif is_worse:
            yield f"No improvement: {text}", True
        else:
            yield text[0].upper() + text[1:], False
    if is_number(kl := lasts.get("kl")):
        yield f"The KL to the parent is {number(kl)} nats per answer.", False


def _change(words: str, first: float, last: float, is_over: bool) -> str:
    before, now = number(float(f"{first:.3g}")), number(float(f"{last:.3g}"))
    if before == now:
        # With one point as yet, nothing has stayed as it was.
        return f"{words} is {now}, unchanged since the start." if is_over else f"{words} is {now}."
    return f"{words} {'rose' if last > first else 'fell'} from {before} to {now}."
