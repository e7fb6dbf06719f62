"""Read one row of a task of choices: a context, candidates that may follow it, and which of them is right.

Six forms are read, by their columns; all but the first are those of public tasks, put to the model in the words that
lm-evaluation-harness puts them in, so that figures can be set beside published ones:

    ours        {"context"?, "choices": [...], "answer": index or text, "group"?, "id"?}
    BLiMP       {"sentence_good", "sentence_bad"}
    winogrande  {"sentence" with a _, "option1", "option2", "answer": "1" or "2"}
    HellaSwag   {"ctx" or "context", "endings": [...], "label"}
    PIQA        {"goal", "sol1", "sol2", "label"}
    ARC         {"question", "choices": {"text": [...], "label": [...]}, "answerKey"}

`read_choice` raises ValueError in words that continue "line 7 …". Pure: no Django.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.texts import is_storable

Row = Mapping[str, Any]
LONGEST = 100_000  # characters of a context or a candidate
MOST_CANDIDATES = 26
FORMS = (
    'choices with an answer, such as {"context": "The cat sat on the", "choices": ["mat", "sky"], "answer": 0}; '
    "sentence_good and sentence_bad; sentence with _, option1, option2 and answer; ctx, endings and label; "
    "goal, sol1, sol2 and label; question, choices and answerKey"
)


@dataclass(frozen=True)
class ChoiceItem:
    """Hold an item with candidates. `candidates` follow `context` after `delimiter`; the one with the index `answer` is
    right.

    With a `suffix`, candidates differ in what comes before it: each is put after the context, and the suffix alone is
    scored (partial scoring, Trinh and Le 2018, 1806.02847). A rare name then does not lose for being rare.
    """

    context: str
    candidates: tuple[str, ...]
    answer: int
    group: str = ""
    id: str = ""
    suffix: str = ""
    delimiter: str = " "

    @property
    def text(self) -> str:
        """Return all that a model may not have seen before: what training data is searched for."""
        return "\n".join(part for part in (self.context, *self.candidates, self.suffix) if part)


def read_choice(row: Row) -> ChoiceItem:
    item = _reader(row)(row)
    if not 2 <= len(item.candidates) <= MOST_CANDIDATES:
        count_text = "1 candidate" if len(item.candidates) == 1 else f"{len(item.candidates)} candidates"
        raise ValueError(f"has {count_text}; give between 2 and {MOST_CANDIDATES}.")
    for index, candidate in enumerate(item.candidates):
        if not candidate.strip():
            raise ValueError("has an empty candidate.")
        if candidate in item.candidates[:index]:
            raise ValueError(f"has two equal candidates ({candidate!r:.60}), but only one can be right.")
    return item


def _reader(row: Row) -> Any:
    names = {name for name, value in row.items() if value is not None}
    readers = {
        ("sentence_good", "sentence_bad"): _blimp,
        ("sentence", "option1", "option2"): _winogrande,
        ("goal", "sol1", "sol2"): _piqa,
        ("endings",): _hellaswag,
        ("answerKey",): _arc,
        ("choices",): _own_format,
    }
    for columns, reader in readers.items():
        if set(columns) <= names:
            return reader
    if {"question", "choices", "context"} & names:
        raise ValueError("has no choices: give a list of at least two texts.")
    raise ValueError(f"is not an item with choices; a row has {FORMS}.")


def _own_format(row: Row) -> ChoiceItem:
    if isinstance(row["choices"], Mapping):
        raise ValueError("has choices with labels but no answerKey with the right label.")
    candidates = _texts(row, "choices")
    if row.get("question") is not None and row.get("context") is None:
        context = _question_prompt(_text(row, "question"))
    else:
        context = _text(row, "context") if row.get("context") not in (None, "") else ""
    return _item(row, context, candidates, _answer(row, "answer", candidates))


def _blimp(row: Row) -> ChoiceItem:
    candidates = (_text(row, "sentence_good"), _text(row, "sentence_bad"))
    name = str(row.get("UID") or "")
    number = row.get("pairID")
    text = f"{name}-{number}" if number is not None else ""
    return _item(row, "", candidates, 0, group=name, given_id=text)


def _winogrande(row: Row) -> ChoiceItem:
    sentence = _text(row, "sentence")
    if sentence.count("_") != 1:
        raise ValueError("needs a sentence with exactly one _ for the missing words.")
    context, suffix = sentence.split("_")
    if not suffix.strip():
        raise ValueError("has nothing after the _ of its sentence, so there is nothing to score.")
    candidates = (_text(row, "option1").strip(), _text(row, "option2").strip())
    if str(row.get("answer", "")).strip() not in ("1", "2"):
        raise ValueError(_wrong("answer", row.get("answer"), "1 or 2"))
    answer = int(str(row["answer"]).strip()) - 1
    return _item(row, context, candidates, answer, suffix=suffix.strip(), keep_context=True)


def _hellaswag(row: Row) -> ChoiceItem:
    endings = _texts(row, "endings")
    if row.get("ctx") is None and row.get("ctx_a") is None:
        return _item(row, _text(row, "context"), endings, _label(row, endings))
    if row.get("ctx_a") is not None:
        context = f"{row['ctx_a']} {str(row.get('ctx_b') or '').capitalize()}"
    else:
        context = _text(row, "ctx")
    if row.get("activity_label"):
        context = f"{row['activity_label']}: {context}"
    cleaned = tuple(_without_brackets(ending) for ending in endings)
    return _item(row, _without_brackets(context), cleaned, _label(row, cleaned))


def _piqa(row: Row) -> ChoiceItem:
    candidates = (_text(row, "sol1").strip(), _text(row, "sol2").strip())
    return _item(row, _question_prompt(_text(row, "goal")), candidates, _label(row, candidates))


def _arc(row: Row) -> ChoiceItem:
    choices = row.get("choices")
    choices = _json(choices) if isinstance(choices, str) else choices
    if not isinstance(choices, Mapping) or not isinstance(choices.get("label"), list):
        raise ValueError('has an answerKey, but no choices such as {"text": ["ice", "stone"], "label": ["A", "B"]}.')
    candidates = _texts(choices, "text")
    labels, key = [str(label).strip() for label in choices["label"]], str(row["answerKey"]).strip()
    if len(labels) != len(candidates):
        raise ValueError(f"has {len(candidates)} candidates with {len(labels)} labels.")
    if labels.count(key) != 1:
        raise ValueError(_wrong("answerKey", row["answerKey"], f"one of {', '.join(labels)}"))
    return _item(row, _question_prompt(_text(row, "question")), candidates, labels.index(key))


def _question_prompt(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _item(
    row: Row, context: str, candidates: tuple[str, ...], answer: int, *,
    group: str = "", given_id: str = "", suffix: str = "", keep_context: bool = False,
) -> ChoiceItem:  # fmt: skip
    """Return the item; a context that ends in white space needs none before its candidates."""
    named = row.get("id")
    return ChoiceItem(
        context=context,
        candidates=candidates,
        answer=answer,
        group=str(row.get("group") or group)[:120],
        id=str(named) if isinstance(named, str | int) and str(named).strip() else given_id,
        suffix=suffix,
        delimiter="" if context[-1:].isspace() and not keep_context else _delimiter(row),
    )


def _delimiter(row: Row) -> str:
    """Return what is between context and candidate: a space, unless the row has another; "" suits scripts without
    spaces."""
    value = row.get("delimiter", " ")
    if not isinstance(value, str) or len(value) > 20:
        raise ValueError(f"has a delimiter that is not a short text: {value!r:.60}.")
    return value


def _text(row: Row, name: str) -> str:
    return _checked(row.get(name), name)


def _checked(value: Any, name: str) -> str:
    if value is None:
        raise ValueError(f"has no {name}.")
    if not isinstance(value, str):
        raise ValueError(f"has {'an' if name[0] in 'aeo' else 'a'} {name} that is not text: {value!r:.60}.")
    if not value.strip():
        raise ValueError(f"has an empty {name}.")
    if len(value) > LONGEST:
        raise ValueError(f"has a {name} of {len(value):,} characters; the limit is {LONGEST:,}.")
    if not is_storable(value):
        raise ValueError(f"has a NUL or half a surrogate pair in {name}; it must be valid UTF-8 text.")
    return value


def _texts(row: Row, name: str) -> tuple[str, ...]:
    """Return a list of texts; in a CSV cell as JSON or parted by |."""
    value = row.get(name)
    if isinstance(value, str):
        value = _json(value) if value.lstrip().startswith("[") else value.split("|")
    if not isinstance(value, list):
        raise ValueError(f'has no {name}: give a list of texts such as ["ice", "stone"], or ice|stone in a CSV cell.')
    return tuple(
        _checked(part, f"candidate ({number} of {len(value)})").strip() for number, part in enumerate(value, 1)
    )


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _label(row: Row, candidates: tuple[str, ...]) -> int:
    return _answer(row, "label", candidates)


def _answer(row: Row, name: str, candidates: tuple[str, ...]) -> int:
    """Return the index of the answer: given as an index from 0, a candidate's text, or its letter; a text that is a
    candidate comes first."""
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"has no {name} (the right answer).")
    if isinstance(value, str):
        value = value.strip()
        if value in candidates:
            return candidates.index(value)
        letters = list(string.ascii_uppercase[: len(candidates)])
        value = letters.index(value) if value in letters else int(value) if re.fullmatch(r"\d{1,3}", value) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(candidates):
        accepted = f"an index from 0 to {len(candidates) - 1}, a letter, or the text of a candidate"
        raise ValueError(_wrong(name, row[name], accepted))
    return value


def _wrong(name: str, value: Any, accepted: str) -> str:
    return f"has the {name} {value!r:.60}; use {accepted}."


def _without_brackets(text: str) -> str:
    """Return the text without brackets: HellaSwag has marks of its source, which lm-evaluation-harness takes out like
    this."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
