"""Propose a project's scales from what another tool asks: Label Studio's labelling XML, Argilla's settings. Pure: no
Django.

What is proposed bears the names under which `annotate.data.formats` reads that tool's annotations, so that what comes
in and what is annotated here stand together. What has no scale here is told, never dropped silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from annotate.data.formats import fields, guessing
from annotate.data.formats.argilla import records_reader

LONGEST = 200_000  # characters
_MOST_LABELS = 12  # as many spans as a project may have
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TEXTS = ("Text", "HyperText", "Paragraphs", "List", "Chat", "Chatbot", "Markdown")
_HANDLED = ("View", "Style", "Header", "Choice", "Label", "Bucket", "Collapse", "Panel", "Repeater", *_TEXTS)


@dataclass(frozen=True)
class ProposedScale:
    """A scale as `annotate.labelling.scales.actions.add` takes it; `origin` is what it comes from."""

    kind: str
    name: str
    title: str
    origin: str
    definition: str = ""
    is_required: bool = False


@dataclass(frozen=True)
class Proposal:
    """`asks` are the project's settings that have to be on for them; `notes` say what has no place here."""

    scales: tuple[ProposedScale, ...]
    asks: tuple[str, ...]
    notes: tuple[str, ...]


def propose(text: str) -> Proposal:
    """Return what the text proposes. Raises ValueError in words where it is neither XML of Label Studio nor JSON of
    Argilla's settings."""
    if len(text) > LONGEST:
        raise ValueError(f"The text is longer than {LONGEST:,} characters; paste only the labelling interface.")
    begins = text.lstrip("\ufeff \t\r\n")
    if begins.startswith("<"):
        return _label_studio(begins)
    if begins.startswith("{"):
        return _of_json(begins)
    raise ValueError(
        "Paste Label Studio's labelling XML (Settings, Labeling Interface, Code), which starts with <View>, or "
        "Argilla's settings.json, which starts with {."
    )


class _Found:
    """What is proposed so far; the first scale of a kind that a project has once stands."""

    def __init__(self) -> None:
        self.scales: list[ProposedScale] = []
        self.notes: list[str] = []
        self.asks: dict[str, None] = {}

    def add(self, kind: str, name: str, origin: str, *, ask: str, title: str = "", **more: Any) -> None:
        slug = name if _NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40]
        is_single = kind not in ("aspect", "span")
        if any(one.kind == kind and one.name == slug for one in self.scales):
            return  # the same, asked of another answer
        if not slug or (is_single and any(one.kind == kind for one in self.scales)):
            self.notes.append(f"{origin}: a project has only one scale of this kind, and another part already uses it.")
            return
        if slug != name:
            self.notes.append(f"{origin}: its name becomes {slug}; exported files keep the name {name!r}.")
        if kind == "span" and sum(one.kind == "span" for one in self.scales) >= _MOST_LABELS:
            self.notes.append(f"{origin}: a project has at most {_MOST_LABELS} span labels; {name!r} is left out.")
            return
        self.scales.append(ProposedScale(kind, slug, (title or _title(name))[:80], origin, **more))
        self.asks[ask] = None

    def note(self, origin: str, text: str) -> None:
        self.notes.append(f"{origin}: {text}")

    def steps(self, name: str, origin: str, low: float, high: float, **more: Any) -> None:
        """A number: stars, or the aspect of that name."""
        kind = "stars" if guessing.is_stars(name) else "aspect"
        self.add(kind, "stars" if kind == "stars" else name.removeprefix(guessing.ASPECT), origin,
                 ask="asks_ratings", **more)  # fmt: skip
        if (low, high) != (1, 5):
            self.note(
                origin, f"its values are {low:g} to {high:g}; here they are 1 to 5, and an import skips other values."
            )

    def choices(self, name: str, origin: str, values: Sequence[str], answers: Sequence[str], **more: Any) -> None:
        """One of several words: a winner between two answers, or thumbs for one."""
        if guessing.is_flag(name):
            self.note(origin, "not needed: annotators can flag problems of every item.")
        elif len(answers) > 1 and values and all(_is_winner(value, answers) for value in values):
            self.add("comparison", "better", origin, ask="asks_comparisons", **more)
        elif len(answers) < 2 and values and all(guessing.thumbs(value) is not None for value in values):
            self.add("thumbs", "thumbs", origin, ask="asks_ratings", **more)
        else:
            self.note(origin, f"choices with other values ({', '.join(values[:6])}) have no matching scale.")

    def text(self, name: str, origin: str) -> None:
        if guessing.is_comment(name):
            self.note(origin, "not needed: every item has a comment field.")
        else:
            self.asks["asks_answers"] = None
            self.note(origin, "people write an answer, so the project turns on written answers.")

    def done(self) -> Proposal:
        return Proposal(tuple(self.scales), tuple(self.asks), tuple(self.notes))


def _is_winner(value: str, answers: Sequence[str]) -> bool:
    try:
        return value in answers or bool(fields.winner(value))
    except ValueError:
        return False


def _title(name: str) -> str:
    return re.sub(r"[-_\s]+", " ", name).strip().capitalize()


def _answers(names: Iterable[str]) -> tuple[str, ...]:
    """Return which fields hold answers, as the readers of annotations guess it."""
    try:
        return guessing.task(dict.fromkeys(names, "x")).answers
    except ValueError:
        return ()


def _label_studio(text: str) -> Proposal:
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise ValueError("The XML has a DOCTYPE or CDATA; paste only the <View> element.")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"This is not valid XML: {error}.") from error
    found = _Found()
    shown = {tag.get("name", ""): tag.get("value", "").lstrip("$") for tag in root.iter() if tag.tag in _TEXTS}
    has_list = any(tag.tag == "List" for tag in root.iter())
    answers = _answers(name for name in shown.values() if name)
    header = ""
    for tag in root.iter():
        if tag.tag == "Header" and not tag.get("value", "").startswith("$"):
            header = tag.get("value", "").strip()
            continue
        if tag.tag not in _HANDLED:
            _control(tag, found, ("a", "b") if has_list else answers, header)
            header = ""
    if not found.scales and not found.asks and not found.notes:
        raise ValueError(
            "The interface has no Rating, Choices, Pairwise, Ranker, Labels or TextArea; paste the whole <View>."
        )
    return found.done()


def _control(tag: ElementTree.Element, found: _Found, answers: Sequence[str], header: str) -> None:
    name, origin = tag.get("name", tag.tag), f"<{tag.tag} name={tag.get('name', '')!r}>"
    more: dict[str, Any] = {"title": header, "is_required": tag.get("required", "").lower() == "true"}
    match tag.tag:
        case "Rating":
            found.steps(name, origin, 1, _number(tag.get("maxRating"), 5), **more)
        case "Number":
            found.steps(name, origin, _number(tag.get("min"), 1), _number(tag.get("max"), 5), **more)
        case "Choices":
            values = [choice.get("value", "") for choice in tag.iter("Choice")]
            found.choices(name, origin, values, answers, **more)
        case "Pairwise":
            found.add("comparison", "better", origin, ask="asks_comparisons", title=header)
        case "Ranker":
            found.add("ranking", "ranking", origin, ask="asks_rankings", title=header)
        case "Labels" | "HyperTextLabels" | "ParagraphLabels":
            for label in tag.iter("Label"):
                found.add("span", label.get("value", ""), origin, ask="asks_ratings")
        case "TextArea":
            found.text(name, origin)
        case _ if tag.get("toName"):
            found.note(origin, "no matching scale here.")


def _number(value: str | None, default: float) -> float:
    try:
        return float(value) if value else default
    except ValueError:
        return default


def _of_json(text: str) -> Proposal:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is not valid JSON: {error}.") from error
    if isinstance(content.get("label_config"), str):  # a project as Label Studio's API gives it
        return _label_studio(content["label_config"].strip())
    questions = content.get("questions")
    if not isinstance(questions, list) or not all(isinstance(one, Mapping) for one in questions):
        raise ValueError("It has no questions; use Argilla's settings.json from the folder .argilla/ of a data set.")
    return _argilla(content, questions)


def _argilla(content: Mapping[str, Any], questions: Sequence[Mapping[str, Any]]) -> Proposal:
    found = _Found()
    listed = content.get("fields")
    answers = _answers(str(one.get("name", "")) for one in (listed if isinstance(listed, list) else []))
    for one in questions:
        _question(one, found, answers)
    if content.get("guidelines"):
        found.note("guidelines", "copy them to the page Guidelines; annotators read them before the first item.")
    overlap = content.get("distribution")
    if isinstance(overlap, Mapping) and isinstance(overlap.get("min_submitted"), int) and overlap["min_submitted"] > 1:
        found.note("distribution", f"set the overlap to {overlap['min_submitted']} in the project's settings.")
    return found.done()


def _question(question: Mapping[str, Any], found: _Found, answers: Sequence[str]) -> None:
    name, origin = str(question.get("name", "")), f"question {question.get('name', '')!r}"
    settings = question.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    options = settings.get("options")
    values = [one.get("value") for one in options if isinstance(one, Mapping)] if isinstance(options, list) else []
    title = str(question.get("title") or "")
    more: dict[str, Any] = {
        "title": "" if title == name else title,
        "definition": str(question.get("description") or ""),
    }
    required: dict[str, Any] = {"is_required": question.get("required") is True}
    match settings.get("type", question.get("type")):
        case "rating":
            numbers = [value for value in values if isinstance(value, int | float)] or [1, 5]
            found.steps(
                records_reader.asked(name, len(answers)), origin, min(numbers), max(numbers), **more, **required
            )
        case "label_selection":
            found.choices(name, origin, [str(value) for value in values], answers, **more, **required)
        case "ranking":
            found.add("ranking", "ranking", origin, ask="asks_rankings", **more, **required)
        case "span":
            for value in values:
                found.add("span", str(value), origin, ask="asks_ratings")
        case "text":
            found.text(name, origin)
        case _ if guessing.is_flag(name):
            found.note(origin, "not needed: annotators can flag problems of every item.")
        case _:
            found.note(origin, "no matching scale here.")
