"""Present one item of an evaluation, whichever measure it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from annotate.core.permissions import Person, can
from evaluation.measures import item_store as items
from evaluation.measures.item_store import Index
from evaluation.measures.present import figure_formats
from training.models import Run


@dataclass(frozen=True)
class Candidate:
    text: str
    logprob: str
    is_right: bool
    is_chosen: bool


@dataclass(frozen=True)
class Item:
    """One item as a page shows it. What its measure tells beyond these fields is in `facts`."""

    place: int
    id: str
    group: str
    right: int
    seen: int
    seen_in: list[str]
    values: list[tuple[str, str]]
    turns: list[dict[str, str]] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)  # heading and text
    references: list[str] = field(default_factory=list)
    text: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)


def shown(row: items.Row, item_index: int, index: Index, texts: bool) -> Item:
    parts = _parts(dict(row.get("shown") or {})) if texts else {}
    right = int(index.right[item_index])
    return Item(
        place=item_index + 1,
        id=str(row["id"]),
        group=row.get("group", ""),
        right=right,
        seen=int(index.seen[item_index]),
        seen_in=row.get("seen_in") or [],
        values=_values(row["counts"], right),
        **parts,
    )


_OF_ONE = ("accuracy", "win rate")  # of a single item it is a mark rather than a share


def _values(counts: dict[str, list[float]], right: int) -> list[tuple[str, str]]:
    """Return each metric for this item alone, where it has such a value. What is right or wrong has a mark of its own;
    other ways of counting the same are told where they say otherwise."""
    values = []
    for name, sums in counts.items():
        value = items.value_of(name, sums)
        if value is None or (name.startswith(_OF_ONE) and value == right):
            continue
        if name.startswith(_OF_ONE) and value in (0, 1):
            values.append((name, "right" if value else "wrong"))
        else:
            values.append((name, figure_formats.shown(name, value, None, None, n=1, higher_is_better=None).text))
    return values


def _parts(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what measures tell in the same words; the rest as facts."""
    prompt = shown.pop("prompt", None) or shown.pop("context", None)
    parts: dict[str, Any] = {
        "turns": _turns(prompt),
        "references": [str(text) for text in shown.pop("references", None) or []],
        "text": str(shown.pop("text", "") or ""),
    }
    if isinstance(shown.get("candidates"), list):
        parts["candidates"] = _candidates(shown)
    if "label" in shown:  # a classifier's answer is a word, and no text to read
        shown = {"right label": shown.pop("label"), "its label": shown.pop("answer", ""), **shown}
    parts["answers"] = [
        *_answers(shown),
        *(one for pair in shown.pop("pairs", None) or [] for one in _scored(dict(pair))),
        *(_rating_text(dict(one)) for one in shown.pop("rated", None) or []),
    ]
    left = [(name, value) for name, value in shown.items() if value is not None and value != ""]
    parts["facts"] = [(name.replace("_", " "), _value_text(value)) for name, value in left]
    return parts


_ANSWERS = {
    "answer": "its answer",
    "other": "the opponent’s answer",
    "its parent's answer": "its parent’s answer",
    "chosen": "the annotators’ choice",
    "rejected": "the other answer",
    "tied with": "tied with",
}


def _answers(shown: dict[str, Any]) -> list[tuple[str, str]]:
    return [(heading, str(shown.pop(name))) for name, heading in _ANSWERS.items() if name in shown]


def _scored(pair: dict[str, Any]) -> list[tuple[str, str]]:
    """Return two answers that annotators compared, each with a reward model's score; the verdict stands at the
    first."""
    scores = [pair.pop(name, None) for name in ("score", "other score")]
    suffixes = [f", score {_value_text(score)}" if score is not None else "" for score in scores]
    suffixes[0] += f": {pair.pop('verdict')}" if pair.get("verdict") else ""
    return [(heading + more, text) for (heading, text), more in zip(_answers(pair), suffixes, strict=False)]


def _rating_text(one: dict[str, Any]) -> tuple[str, str]:
    """Return an answer that judges rated, with a reward model's score."""
    thumbs = {True: "thumb up", False: "thumb down", None: ""}[one.get("thumbs")]
    stars = f"{one['stars']} of 5 stars" if one.get("stars") else ""
    score = "" if one.get("score") is None else f"score {_value_text(one['score'])}"
    return ", ".join(filter(None, (thumbs, stars, score))), str(one.get("answer", ""))


def _turns(prompt: Any) -> list[dict[str, str]]:
    if isinstance(prompt, list):
        return [{"role": str(turn.get("role", "")), "content": str(turn.get("content", ""))} for turn in prompt]
    return [{"role": "", "content": str(prompt)}] if prompt else []


def _candidates(shown: dict[str, Any]) -> list[Candidate]:
    """Return each with its log-probability. `right` and `answer` are texts; several that are right are parted by a
    slash."""
    texts, right = [str(text) for text in shown.pop("candidates")], str(shown.pop("right", ""))
    chosen, logprobs = shown.pop("answer", None), shown.pop("log-probabilities", None) or [None] * len(texts)
    all_right = {right} if right in texts else set(right.split(" / "))
    return [
        Candidate(
            text, "" if logprob is None else f"{logprob:.2f}".replace("-", "−"), text in all_right, text == chosen
        )
        for text, logprob in zip(texts, logprobs, strict=True)
    ]


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", "−")
    if isinstance(value, list):
        return ", ".join(map(_value_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value_text(inner)}" for name, inner in value.items())
    return str(value)


ORDERS = {"": "as measured", "worst": "worst first", "best": "best first"}


def may_read_texts(person: Person, run: Run) -> bool:
    """Return whether the person may read texts: rows of a dataset and prompts of the eval split are for those who may
    review; the suite is everybody's."""
    is_public = run.config.get("measure") == "choices" and run.other_dataset_id is None
    return is_public or can(person, "review", run.project)


BLIND = "These items are of answers that annotators vote on blind. Only reviewers, researchers and managers read them."


def is_blind(run: Run) -> bool:
    """Return whether figures of single items are for those who may review: those of fluency are of answers that
    annotators vote on blind, and their lengths would name the model."""
    return run.config.get("measure") == "fluency"


def may_read_figures(person: Person, run: Run) -> bool:
    return not is_blind(run) or can(person, "review", run.project)


def row_for(row: items.Row, texts: bool) -> items.Row:
    """Return the row as this asker may see it."""
    return row if texts else {**row, "shown": None}
