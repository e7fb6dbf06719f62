"""Read one uploaded row: a chat, a prompt with its completion, an Alpaca instruction, a labelled text, a text.

Each reader gives the rows of our own format, or raises ValueError in words that continue "line 7 …". Pure: no Django.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from typing import Any

from annotate.data.rows.task_families import TASKS, Task
from common.texts import is_storable

Row = dict[str, Any]
Messages = list[dict[str, str]]
LONGEST_TEXT = 1_000_000  # characters; a document of a corpus may be long
LONGEST_TURN = 100_000
MOST_CHOICES = 26
_ROLES = ("system", "user", "assistant")
_SHAREGPT = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


def text_of(row: Mapping[str, Any], name: str, longest: int = LONGEST_TURN) -> str:
    value = row.get(name)
    if isinstance(value, bool | int | float) and name == "label":
        value = str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        raise ValueError(f"has no text {name}." if value is None else f"has a {name} that is not text: {value!r:.60}.")
    if not value.strip():
        raise ValueError(f"has an empty {name}.")
    if len(value) > longest:
        raise ValueError(f"has a {name} of {len(value):,} characters; the limit is {longest:,}.")
    if not is_storable(value):
        raise ValueError(f"has a NUL or half a surrogate pair in {name}; it must be valid UTF-8 text.")
    return value


def corpus_rows(row: Row) -> list[Row]:
    source = row.get("source")
    return [{"text": text_of(row, "text", LONGEST_TEXT), "source": source if isinstance(source, str) else "upload"}]


def labelled_rows(task: Task) -> Callable[[Row], list[Row]]:
    def read(row: Row) -> list[Row]:
        fields: Row = {name: _field(row, name) for name in task.fields}
        if task.text_b and task.text_b not in fields and row.get(task.text_b):
            fields[task.text_b] = text_of(row, task.text_b)
        if "choices" in fields and fields["answer"] not in fields["choices"]:
            fields["answer"] = _by_letter(fields["answer"], fields["choices"])
        return [fields]

    return read


def _field(row: Row, name: str) -> Any:
    return _choices(row) if name == "choices" else text_of(row, name).strip()


def _choices(row: Row) -> list[str]:
    """Return a list of texts; in a CSV cell as JSON or parted by |. CommonsenseQA's {"label": …, "text": …} is one,
    too."""
    value = row.get("choices")
    if isinstance(value, str):
        value = parsed(value) if value.lstrip().startswith("[") else value.split("|")
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, list) or not all(isinstance(c, str) and c.strip() for c in value):
        raise ValueError('has no choices: give a list of texts such as ["ice", "stone"], or ice|stone in a CSV cell.')
    choices = [c.strip() for c in value]
    if not 2 <= len(set(choices)) == len(choices) <= MOST_CHOICES:
        raise ValueError(f"needs 2 to {MOST_CHOICES} different choices.")
    return choices


def _by_letter(answer: str, choices: list[str]) -> str:
    index = string.ascii_uppercase.find(answer.upper()) if len(answer) == 1 else -1
    if not 0 <= index < len(choices):
        raise ValueError(f"has the answer {answer!r:.60}, which is not one of its choices ({', '.join(choices)}).")
    return choices[index]


def example_rows(row: Row) -> list[Row]:
    """Return demonstrations. A chat gives one for each of the assistant's turns, with all that was said before as its
    prompt."""
    if "messages" in row or "conversations" in row:
        return _chat_rows(_messages(row, "messages" if "messages" in row else "conversations"))
    if "prompt" in row and "completion" in row:
        return [_example(prompt_of(row), _completion(row), row)]
    if "instruction" in row and "output" in row:
        return [_example(_alpaca(row), text_of(row, "output"), row)]
    raise ValueError("needs messages, or prompt and completion, or instruction and output.")


def _example(prompt: Messages, completion: str, row: Row) -> Row:
    if prompt[-1]["role"] != "user":
        raise ValueError("has a prompt that does not end with the user's turn.")
    return {"prompt": prompt, "completion": completion, **({"is_cut": True} if row.get("is_cut") is True else {})}


def _chat_rows(messages: Messages) -> list[Row]:
    answers = [i for i, turn in enumerate(messages) if turn["role"] == "assistant"]
    if not answers:
        raise ValueError("has no assistant's turn, so there is nothing to learn.")
    for i in answers:
        if i == 0 or messages[i - 1]["role"] != "user":
            raise ValueError(f"has an assistant's turn ({i + 1}) that does not follow the user's.")
    return [{"prompt": messages[:i], "completion": messages[i]["content"]} for i in answers]


def prompt_of(row: Row) -> Messages:
    value = parsed(row["prompt"]) if _is_json_list(row["prompt"]) else row["prompt"]
    if isinstance(value, list):
        return _messages({**row, "prompt": value}, "prompt")
    return [{"role": "user", "content": text_of(row, "prompt")}]


def _completion(row: Row) -> str:
    value = parsed(row["completion"]) if _is_json_list(row["completion"]) else row["completion"]
    if not isinstance(value, list):
        return text_of(row, "completion")
    turns = _messages({"completion": value}, "completion")
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise ValueError("has a completion of several turns; send such a chat as messages.")
    return turns[0]["content"]


def _alpaca(row: Row) -> Messages:
    text = text_of(row, "instruction")
    if row.get("input") not in (None, ""):
        text += "\n\n" + text_of(row, "input")
    system = [{"role": "system", "content": text_of(row, "system")}] if row.get("system") else []
    return [*system, {"role": "user", "content": text}]


def _messages(row: Row, name: str) -> Messages:
    """Return turns with role and content, or ShareGPT's from and value; in a CSV cell as JSON."""
    value = parsed(row[name]) if isinstance(row[name], str) else row[name]
    if not isinstance(value, list) or not value:
        raise ValueError(f'has {name} that are no list of turns such as [{{"role": "user", "content": "…"}}].')
    return [_turn(turn, name) for turn in value]


def _turn(turn: Any, name: str) -> dict[str, str]:
    if isinstance(turn, dict) and "from" in turn:
        turn = {"role": _SHAREGPT.get(str(turn["from"])), "content": turn.get("value")}
    if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
        raise ValueError(f"has a turn in {name} without a role; the roles are {', '.join(_ROLES)}.")
    return {"role": turn["role"], "content": text_of(turn, "content")}


def _is_json_list(value: Any) -> bool:
    """Return whether the text begins with `[{` and not only `[`: a prompt may well begin with a bracket."""
    return isinstance(value, str) and value.lstrip().startswith("[{")


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def reader_of(kind: str, task: str = "") -> Callable[[Row], list[Row]]:
    """Return the reader of rows for a Dataset.Kind that can be uploaded."""
    return {"corpus": corpus_rows, "sft": example_rows}.get(kind) or labelled_rows(TASKS[task])
