"""Describe an item of a file in words, for a preview before it is imported. Pure: no Django."""

from __future__ import annotations

from dataclasses import dataclass

from annotate.data.formats.items import (
    KIND_OF,
    Item,
    Messages,
    NewAnswers,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewRanking,
    NewRating,
    NewSpan,
)

_VERDICTS = {
    "model_a": "the first is better",
    "model_b": "the second is better",
    "tie": "about the same",
    "both_bad": "both are bad",
}


@dataclass(frozen=True)
class Shown:
    """Show one item. `answers` are (model or "", text, whether it won)."""

    kind: str
    messages: Messages
    answers: tuple[tuple[str, str, bool], ...]
    words: str
    judge: str


def shown(item: Item) -> Shown:
    return Shown(KIND_OF[type(item)], item.messages, tuple(_answers(item)), _words(item), item.judge)


def _answers(item: Item) -> list[tuple[str, str, bool]]:
    match item:
        case NewComparison():
            return [
                (item.model_a, item.a, item.winner == "model_a"),
                (item.model_b, item.b, item.winner == "model_b"),
            ]
        case NewRanking():
            models = item.models or ("",) * len(item.texts)
            return [(models[index], item.texts[index], False) for group in item.order for index in group]
        case NewAnswers():
            models = item.models or ("",) * len(item.texts)
            return [(model, text, False) for model, text in zip(models, item.texts, strict=True)]
        case NewRating() | NewDemonstration() | NewSpan():
            return [(item.model, item.text, False)]
        case NewFlag() if item.text is not None:
            return [(item.model, item.text, False)]
    return []


def _words(item: Item) -> str:
    match item:
        case NewComparison():
            degree = {1: ", slightly", 2: ", clearly", 3: ", by far"}.get(item.strength or 0, "")
            return f"{_VERDICTS[item.winner]}{degree}"
        case NewRating():
            return ", ".join(_ratings(item))
        case NewRanking():
            return "from best to worst"
        case NewSpan():
            return f"{item.label}: {item.text[item.start : item.end]}"
        case NewFlag():
            return item.reason
        case NewAnswers():
            return "to annotate"
        case NewAttack() if item.rating is not None:
            return f"success {item.rating:g} of 4"
    return ""


def _ratings(item: NewRating) -> list[str]:
    thumbs = [] if item.thumbs is None else ["thumbs up" if item.thumbs else "thumbs down"]
    stars = [] if item.stars is None else [f"{item.stars} of 5 stars"]
    return thumbs + stars + [f"{name} {value} of 5" for name, value in item.aspects.items()]
