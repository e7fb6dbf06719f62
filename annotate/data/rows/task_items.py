"""Read items of a task file, to measure models on, in five forms. Pure: no Django.

    choices     what `annotate.data.rows.choice_items.read_choice` reads: a context with its endings, or whole sentences
    references  {"prompt", "references": [...]}, or with "reference" or "completion" for one of them
    texts       {"text"}
    labelled    {"text", "label"}, perhaps with "text_b"
    pairs       {"prompt", "chosen", "rejected"}, or "chosen" and "rejected" as whole transcripts (hh-rlhf)

The form of the first row is that of the file. Any row may say a `group`, a part of the task that gets figures of its
own, and an `id` that no other row has. Each reader gives the row as it is frozen, or raises ValueError in words that
continue "line 7 …".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from annotate.data.rows import row_formats
from annotate.data.rows.choice_items import read_choice
from annotate.data.rows.row_formats import LONGEST_TEXT, Row, text_of
from common import transcripts

# A row with one of these is one of choices; `choice_items` knows which others it then needs.
_CHOICES = {"choices", "endings", "answerKey", "sentence_good", "sentence_bad", "option1", "option2", "sol1", "sol2"}
# What `read_choice` reads, in all its forms.
_COLUMNS = (
    *("context", "question", "choices", "answer", "delimiter", "sentence_good", "sentence_bad", "UID", "pairID"),
    *("sentence", "option1", "option2", "ctx", "ctx_a", "ctx_b", "activity_label", "endings", "label", "goal", "sol1"),
    *("sol2", "answerKey"),
)
LONGEST_GROUP = 120
MOST_REFERENCES = 64


@dataclass(frozen=True)
class Form:
    name: str
    description: str
    example: str
    measures: tuple[str, ...]  # of a run of kind evaluate


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "choices",
            "endings or sentences of which one is right: the model should find it the most likely",
            '{"context": "Ice left in the sun", "choices": ["melts.", "sings."], "answer": 0}',
            ("choices",),
        ),
        Form(
            "references",
            "prompts with reference answers: how much of them the model's answers contain",
            '{"prompt": "Name a colour.", "references": ["Green.", "Red."]}',
            ("overlap",),
        ),
        Form(
            "texts",
            "texts that the model should predict",
            '{"text": "Once upon a time …", "group": "tales"}',
            ("perplexity",),
        ),
        Form(
            "labelled",
            "texts with their labels, for a classifier",
            '{"text": "A warm and funny film.", "label": "positive"}',
            ("classification",),
        ),
        Form(
            "pairs",
            "two answers to a prompt, of which annotators preferred one, for a reward model",
            '{"prompt": "Name a colour.", "chosen": "Green.", "rejected": "No."}',
            ("reward_accuracy",),
        ),
    )
}


def form_of(row: Row) -> str:
    """Return which form a row has, by its fields. Raises ValueError for one that fits none."""
    fields = set(row)
    if {"chosen", "rejected"} <= fields:
        return "pairs"
    if fields & {"references", "reference"} or {"prompt", "completion"} <= fields:
        return "references"
    if fields & _CHOICES:
        return "choices"
    if "text" in fields:
        return "labelled" if "label" in fields else "texts"
    text = "; ".join(f"{form.name}: {form.example}" for form in FORMS.values())
    raise ValueError(f"has {_named(row)}, which match no form of a task ({text}).")


def _named(row: Row) -> str:
    return f"the fields {', '.join(map(str, row))}" if row else "no fields"


def reader_of(form: str) -> Callable[[Row], list[Row]]:
    """Return the reader for a form of `FORMS`."""
    readers = {"choices": _choices, "references": _references, "texts": _texts, "labelled": _labelled, "pairs": _pairs}[
        form
    ]
    ids: set[str] = set()

    def whole(row: Row) -> list[Row]:
        _same_form(row, form)
        result = {**_id(row), **_group(row), **readers(row)}
        _once(result, ids)
        return [result]

    return whole


def _choices(row: Row) -> Row:
    """Return the choices as they were given, for `read_choice` to read again: each public form is put to the model in
    words of its own."""
    item = read_choice(row)
    named = {name: value for name, value in (("id", item.id), ("group", item.group)) if value}
    columns = {name: row[name] for name in _COLUMNS if row.get(name) is not None} | named
    try:
        json.dumps(columns, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # in a column that this form has no use for
        raise ValueError("has a value that is neither text, number nor list; remove that column.") from error
    return columns


def _id(row: Row) -> Row:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        return {}
    return {"id": text_of({"id": str(value)}, "id", LONGEST_GROUP).strip()}


def _once(row: Row, ids: set[str]) -> None:
    name = row.get("id")
    if name in ids:
        raise ValueError(f"has the id {name!r:.60}, which an earlier line has; ids must be unique.")
    if name is not None:
        ids.add(name)


def _same_form(row: Row, form: str) -> None:
    """Refuse a row of another form by naming the form: its missing fields would mislead."""
    try:
        row_form = form_of(row)
    except ValueError:
        return  # its reader says better which field is missing
    if row_form != form and not (form == "labelled" and row_form == "texts"):
        raise ValueError(f"has the form {row_form}, but the first row has {form}; use one file for each form.")


def _group(row: Row) -> Row:
    if row.get("group") in (None, ""):
        return {}
    group = text_of(row, "group").strip()
    if len(group) > LONGEST_GROUP:
        raise ValueError(f"has a group of {len(group):,} characters; the limit is {LONGEST_GROUP}.")
    return {"group": group}


def _references(row: Row) -> Row:
    if row.get("prompt") in (None, ""):
        raise ValueError("has no prompt.")
    prompt = row_formats.prompt_of(row)
    if prompt[-1]["role"] != "user":
        raise ValueError("has a prompt that does not end with the user's turn.")
    return {"prompt": prompt, "references": _texts_of_references(row)}


def _texts_of_references(row: Row) -> list[str]:
    """Return each reference once. An empty one would be matched by saying nothing."""
    name = next((name for name in ("references", "reference", "completion") if row.get(name) is not None), "references")
    parsed = row.get(name)
    if isinstance(parsed, str):
        parsed = row_formats.parsed(parsed) if parsed.lstrip().startswith("[") else [parsed]
    if not isinstance(parsed, list) or not parsed:
        raise ValueError(f'has no {name}: give a list of good answers such as ["Green.", "Red."].')
    if len(parsed) > MOST_REFERENCES:
        raise ValueError(f"has {len(parsed)} references; the limit is {MOST_REFERENCES}.")
    for number, text in enumerate(parsed, start=1):
        if not isinstance(text, str):
            raise ValueError(f"has a reference ({number}) that is not text: {text!r:.60}.")
        if not text.strip():
            raise ValueError(f"has an empty reference ({number}); remove it.")
        text_of({"reference": text}, "reference")
    return list(dict.fromkeys(text.strip() for text in parsed))


def _texts(row: Row) -> Row:
    return {"text": text_of(row, "text", LONGEST_TEXT)}


def _labelled(row: Row) -> Row:
    if row.get("label") in (None, ""):
        raise ValueError("has no label (the right answer).")
    labelled = {"text": text_of(row, "text"), "label": text_of(row, "label").strip()}
    return labelled | ({"text_b": text_of(row, "text_b")} if row.get("text_b") else {})


def _pairs(row: Row) -> Row:
    if row.get("prompt") in (None, ""):
        try:
            pair = transcripts.pair(text_of(row, "chosen", LONGEST_TEXT), text_of(row, "rejected", LONGEST_TEXT))
        except ValueError as error:
            problem = str(error).rstrip(".")
            raise ValueError(
                f"has no prompt, and its answers are not transcripts with a common prompt: {problem}."
            ) from error
        return {"prompt": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected}
    prompt = row_formats.prompt_of(row)
    if prompt[-1]["role"] != "user":
        raise ValueError("has a prompt that does not end with the user's turn.")
    chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
    if chosen.strip() == rejected.strip():
        raise ValueError("has two equal answers.")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
