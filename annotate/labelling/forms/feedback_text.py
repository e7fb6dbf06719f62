"""Describe an annotation in a few plain words, for lists."""

from __future__ import annotations

from annotate.models import Comparison, Demonstration, Flag, Ranking, Rating, Span
from annotate.models.feedback import Feedback

STRENGTHS = {1: "slightly", 2: "clearly", 3: "by far"}


def describe_feedback(row: Feedback) -> str:
    if isinstance(row, Comparison):
        return row.get_winner_display() + (f", {STRENGTHS[row.strength]}" if row.strength else "")
    if isinstance(row, Rating):
        return ", ".join(_ratings(row))
    if isinstance(row, Ranking):
        return ranking_in_letters(row)
    if isinstance(row, Span):
        return f"{row.label}: “{row.text[:120]}{'…' if len(row.text) > 120 else ''}”"
    if isinstance(row, Flag):
        return f"{'An answer' if row.completion_id else 'The prompt'}: {row.reason}"
    if isinstance(row, Demonstration):
        return "An edited answer" if row.edited_from_id else "A written answer"
    raise TypeError(f"{type(row).__name__} is no kind of feedback.")


def ranking_in_letters(row: Ranking) -> str:
    """Return the ranking as B > A = C, by the letters that its annotator saw."""
    letters = letters_of(row)
    return " > ".join(" = ".join(letters.get(pk, str(pk)) for pk in equals) for equals in row.order)


def letters_of(row: Ranking) -> dict[int, str]:
    """Return the letter of each completion by the order shown; of an import by id."""
    ids_shown = row.assignment.shown if row.assignment else sorted(pk for equals in row.order for pk in equals)
    return dict(zip(ids_shown, "ABCDEF", strict=False))


def _ratings(row: Rating) -> list[str]:
    parts = [] if row.thumbs is None else ["thumb up" if row.thumbs else "thumb down"]
    parts += [f"{row.stars} of 5 stars"] if row.stars else []
    return [*parts, *(f"{name} {value}" for name, value in row.aspects.items())]
