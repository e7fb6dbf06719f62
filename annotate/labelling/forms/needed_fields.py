"""List what an annotation of an item must say at least: the server refuses by it, and the form of the item brings it
along, so that the page can tell by the same rule what is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from annotate.labelling.scales.declared import Asked, declares_rating
from annotate.models import Assignment, Scale

Kind = Assignment.Kind
_OF_SCALE = {
    Scale.Kind.THUMBS: (Kind.RATE, "thumbs"),
    Scale.Kind.STARS: (Kind.RATE, "stars"),
    Scale.Kind.ASPECT: (Kind.RATE, "aspects"),
    Scale.Kind.COMPARISON: (Kind.COMPARE, "winner"),
    Scale.Kind.RANKING: (Kind.RANK, "rank"),
}


@dataclass(frozen=True)
class Need:
    """Hold fields of a submission of which one must be filled in, and what is said, at the first, where none is.
    `aspect` is the one name that counts of the aspects; empty: any."""

    fields: tuple[str, ...]
    words: str
    aspect: str = ""


def needs(kind: Kind, scales: Asked) -> list[Need]:
    """Return what an annotation of this kind of item needs, in the order in which it is refused."""
    return [_least(kind, scales), *_required(kind, scales)]


def rating_names(scales: Asked) -> str:
    """Return the names of what an answer is rated by, with commas."""
    return ", ".join(scale.name for kind in ("thumbs", "stars", "aspect") for scale in scales[kind])


def _least(kind: Kind, scales: Asked) -> Need:
    if kind == Kind.COMPARE:
        return Need(("winner", "text"), "Choose which answer is better, or skip the item.")
    if kind == Kind.RANK:
        return Need(("rank", "text"), "Give each answer a place, or skip the item.")
    if kind == Kind.WRITE:
        return Need(("text",), "The answer is empty; write one, or skip the item.")
    asked = rating_names(scales) if declares_rating(scales) else "thumbs or stars"
    return Need(("stars", "thumbs", "aspects", "text", "spans"), f"Rate the answer: {asked}. Or skip the item.")


def _required(kind: Kind, scales: Asked) -> list[Need]:
    found = []
    for scale in (scale for of_kind in scales for scale in scales[of_kind] if scale.is_required):
        of_item, field = _OF_SCALE.get(Scale.Kind(scale.kind), (None, ""))
        if of_item == kind:
            words = f"{scale.title} is required for every item; fill it in, or skip the item."
            found.append(Need((field,), words, scale.name if field == "aspects" else ""))
    return found


def form_needs(kind: Kind, scales: Asked, shown: Sequence[int]) -> list[list[list[str]]]:
    """Return the same by the names of the page's form: of each group one list of names must be filled in as a whole."""
    return [
        [names for field in need.fields for names in _form_names(field, need, scales, shown)]
        for need in needs(kind, scales)
    ]


def _form_names(field: str, need: Need, scales: Asked, shown: Sequence[int]) -> list[list[str]]:
    if field == "aspects":
        wanted = [need.aspect] if need.aspect else [scale.name for scale in scales[Scale.Kind.ASPECT]]
        return [[f"aspect-{name}"] for name in wanted]
    if field == "rank":
        return [[f"rank-{pk}" for pk in shown]]
    return [["choice" if field == "winner" else field]]
