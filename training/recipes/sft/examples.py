"""Read what SFT learns from: rows, their tokens with a mask of what is to be learnt, and which are held out.

A row is a prompt and a completion, or a whole chat of which every assistant turn is learnt:

    {"prompt": [messages], "completion": "text"}      optional: "is_cut", the length limit ended the last answer
    {"messages": [messages]}                          what follows the last assistant turn is left out
    "of" in either: what the row was made from; all rows made from one thing are held out together

It is tokenised so that an answer is, token for token, what the policy meets when it answers:

    [chat-template prompt, cut from the left][completion][EOS, unless it was cut]

and a chat goes on from there with what its template puts between two answers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.core.run_directory import RecipeFailure, Row, RunDirectory
from training.core.token_table import (
    NumberLists,
    hash_of_data,
    hash_of_tokenizer,
    number_table,
    token_dtype,
)
from training.recipes.common import loading

FEWEST_EXAMPLES = 2
FEWEST_HELD_OUT = 10
DRAWS = 2**64

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Example:
    """Hold one example as token ids. `learnt[i]` says whether `tokens[i]` is one that the model is to give; the first
    one never is.

    `kin` is the same for examples that are held out together: made from one row, or turns of one chat; empty where the
    example was read from a table, which holds their draws. `number` is another for each example of a run.
    """

    kin: str
    tokens: list[int]
    learnt: list[bool]
    number: int = field(default_factory=itertools.count(-1, -1).__next__, compare=False)  # negative: in no table

    @property
    def targets(self) -> int:
        return sum(self.learnt)


@dataclass(frozen=True)
class StoredExamples(Sequence[Example]):
    """Read examples from a table, one at a time: `rows` are theirs there."""

    table: dict[str, NumberLists]
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self.rows[index]
        learnt = [bool(number) for number in self.table["learnt"][row]]
        return Example("", self.table["tokens"][row], learnt, row)

    def hold_out(self, share: float, limit: int) -> tuple[StoredExamples, StoredExamples]:
        """Return (to learn from, to measure on), as `held_out_places` has them."""
        draws = [self.table["draw"][row][0] / DRAWS for row in self.rows]
        learn, held_out = (
            StoredExamples(self.table, [self.rows[i] for i in places])
            for places in held_out_places(draws, share, limit)
        )
        return learn, held_out

    def __add__(self, other: StoredExamples) -> StoredExamples:
        """Return both, of one table, one after the other."""
        return StoredExamples(self.table, [*self.rows, *other.rows])

    @property
    def lengths(self) -> list[int]:
        return [int(n) for n in self.table["tokens"].lengths[list(self.rows)]]


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """Return the number of tokens of each example."""
    stored: list[int] | None = getattr(examples, "lengths", None)
    return [len(example.tokens) for example in examples] if stored is None else stored


def usable_rows(run: RunDirectory) -> Iterator[Row]:
    """Yield the rows with something to learn."""
    return (row for row in run.each_row("examples") if any(turn.strip() for turn in _answers(row)))


def require_examples(run: RunDirectory) -> None:
    """Raise RecipeFailure when there are too few rows with something to learn."""
    count = sum(1 for _ in itertools.islice(usable_rows(run), FEWEST_EXAMPLES))
    if count < FEWEST_EXAMPLES:
        raise RecipeFailure(
            "too_few_examples",
            f"The dataset has {count} usable examples; at least {FEWEST_EXAMPLES} are needed.",
            "Write demonstrations or rate more answers, then freeze the dataset again.",
        )


def store_examples(run: RunDirectory, tokenizer: Any, max_length: int) -> StoredExamples:
    """Return the examples of a run, encoded once for all its attempts."""
    depends_on = [hash_of_data(run, "examples"), hash_of_tokenizer(tokenizer), max_length]
    columns = {"tokens": token_dtype(tokenizer), "learnt": np.uint8, "draw": np.uint64}

    def encoded() -> Iterator[dict[str, Sequence[int]]]:
        for row in usable_rows(run):
            example = encode(tokenizer, row, max_length)
            yield {"tokens": example.tokens, "learnt": example.learnt, "draw": [_draw(example.kin)]}

    table = number_table(run, "examples", depends_on, columns, encoded)
    return StoredExamples(table, range(len(table["tokens"])))


def first_prompts(run: RunDirectory, count: int) -> list[Messages]:
    """Return what the last answers of the first rows answer, `count` different ones."""
    prompts: dict[str, Messages] = {}
    for row in usable_rows(run):
        messages = last_prompt(row)
        prompts.setdefault(str(messages), messages)
        if len(prompts) == count:
            break
    return list(prompts.values())


def _answers(row: Row) -> list[str]:
    if "messages" in row:
        return [message["content"] for message in row["messages"] if message["role"] == "assistant"]
    return [row["completion"]]


def last_prompt(row: Row) -> Messages:
    """Return what the row's last answer answers: where sample completions begin."""
    return row["prompt"] if "messages" not in row else row["messages"][: _turns(row["messages"])[-1]]


def _turns(messages: Messages) -> list[int]:
    """Return the places of the assistant's turns that say something."""
    return [i for i, m in enumerate(messages) if m["role"] == "assistant" and m["content"].strip()]


def encode(tokenizer: Any, row: Row, max_length: int) -> Example:
    """Return at most `max_length` tokens; the prompt is cut first, from its left, then the last answer from its end.

    An answer that the length limit cut off (`is_cut`) gets no end token: its place teaches nothing.
    """
    if "messages" in row:
        return _encode_chat(tokenizer, row, max_length)
    completion = loading.encode_completion(tokenizer, row["completion"], max_length)
    completion = [*completion, *_end(tokenizer, row)][: max_length - 1]
    prompt = loading.encode_prompt(tokenizer, row["prompt"], max_length - len(completion))
    return Example(kin_of(row), prompt + completion, [False] * len(prompt) + [True] * len(completion))


def kin_of(row: Row) -> str:
    """Return what the row was made from, else how its chat begins: until the assistant first speaks."""
    if "of" in row:
        return str(row["of"])
    messages = row["messages"] if "messages" in row else row["prompt"]
    first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    return json.dumps(messages[:first], sort_keys=True, ensure_ascii=False)


def _end(tokenizer: Any, row: Row) -> list[int]:
    return [] if row.get("is_cut") else [tokenizer.eos_token_id]


def _encode_chat(tokenizer: Any, row: Row, max_length: int) -> Example:
    messages, turns = row["messages"], _turns(row["messages"])
    spans: list[tuple[list[int], bool]] = []
    for number, turn in enumerate(turns):
        separator = _tokens_between(tokenizer, messages, turns[number - 1], turn) if number else None
        if separator is None:  # the first turn, or a template that renders earlier turns anew: begin here
            spans = [(loading.encode_prompt(tokenizer, messages[:turn], 2**30), False)]
        else:
            spans.append((separator, False))
        ends = [tokenizer.eos_token_id] if turn != turns[-1] else _end(tokenizer, row)
        spans.append(([*loading.encode_completion(tokenizer, messages[turn]["content"], max_length), *ends], True))
    *before, (last, _) = spans
    spans = [*before, (last[: max_length - 1], True)]
    tokens = [token for ids, _ in spans for token in ids]
    learnt = [is_learnt for ids, is_learnt in spans for _ in ids]
    over = max(len(tokens) - max_length, 0)
    if over and learnt[over]:  # half an answer without its beginning is nothing that the policy meets
        rest = learnt[over:].index(False)
        learnt[over : over + rest] = [False] * rest
    return Example(kin_of(row), tokens[over:], learnt[over:])


def _tokens_between(tokenizer: Any, messages: Messages, earlier: int, turn: int) -> list[int] | None:
    """Return tokens that the template puts between the end of one answer and the beginning of a later one, EOS left
    out.

    None where it renders what came before anew, as templates do that drop earlier thoughts.
    """
    before, upto, answer_turn = (
        _rendered(tokenizer, messages[:earlier]),
        _rendered(tokenizer, messages[:turn]),
        messages[earlier],
    )
    rest = upto[len(before) :]
    answer = next(
        (text for text in (answer_turn["content"], answer_turn["content"].strip()) if rest.startswith(text)), None
    )
    if not upto.startswith(before) or answer is None:
        return None
    return loading.encode_completion(tokenizer, rest[len(answer) :].removeprefix(tokenizer.eos_token), 2**30)


def _rendered(tokenizer: Any, messages: Messages) -> str:
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def hold_out(examples: list[Example], share: float, limit: int) -> tuple[list[Example], list[Example]]:
    """Return (to learn from, to measure on), as `held_out_places` has them."""
    draws = [_draw(example.kin) / DRAWS for example in examples]
    learn, held_out = ([examples[i] for i in places] for places in held_out_places(draws, share, limit))
    return learn, held_out


def held_out_places(draws: list[float], share: float, limit: int) -> tuple[list[int], list[int]]:
    """Return the places (to learn from, to measure on): by the hash of `kin`, so that a prompt is on one side in every
    run and dataset.

    Nothing is held out where fewer than FEWEST_HELD_OUT examples would be, or the rest would be fewer than that.
    """
    held_out = [i for i, draw in enumerate(draws) if draw < share]
    rest = [i for i, draw in enumerate(draws) if draw >= share]
    if len(held_out) < FEWEST_HELD_OUT or len(rest) < FEWEST_HELD_OUT:
        return list(range(len(draws))), []
    return rest, sorted(held_out, key=lambda i: (draws[i], i))[:limit]


def _draw(kin: str) -> int:
    """Return its hash as a number below DRAWS."""
    return int.from_bytes(hashlib.sha256(kin.encode()).digest()[:8], "big")
