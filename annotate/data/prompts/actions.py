"""Add prompts and completions, one or many at a time; a list is taken whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.conf import settings

from annotate.core.errors import Refused
from annotate.models import Completion, LanguageModel, Project, Prompt, User
from common import reasoning, splits
from common.languages import language_tags
from common.texts import is_storable

Messages = list[dict[str, str]]
ROLES = ("system", "user", "assistant")
_LONGEST_SAMPLING = 10_000  # characters of its JSON: some names with a number each, and a system prompt
_CHUNK = 500  # hashes in one query: SQLite bounds its variables
_AT_ONCE = 100  # prompts of one transaction: nobody else writes on SQLite while it lasts


@dataclass(frozen=True)
class NewPrompt:
    messages: Messages
    category: str = ""
    source: str = ""
    root: Prompt | None = None  # the beginning of a conversation: its later turns stay on its side
    language: str = ""
    answer: str = ""  # the right one, which rewards compare with


@dataclass(frozen=True)
class NewCompletion:
    """Hold a completion to store. `model` is None for imported text whose author is unknown."""

    prompt: Prompt
    model: LanguageModel | None
    text: str
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    tokens: int | None = None
    finish_reason: str = ""
    source: str = ""
    reasoning: str = ""  # what stands in the text between <think> and </think> is added to it
    prompt_tokens: int | None = None  # as an endpoint billed them, and dollars
    cost: Decimal | None = None


def add_prompt(
    *,
    project: Project,
    messages: Messages,
    category: str = "",
    source: str = "",
    by: User | None = None,
    root: Prompt | None = None,
    language: str = "",
    answer: str = "",
) -> Prompt:
    """Return the prompt with that text: the existing one if it stands already. Refused when it is not a
    conversation."""
    check_messages(messages)
    prompt = add_prompts(project=project, rows=[NewPrompt(messages, category, source, root, language, answer)], by=by)[
        0
    ]
    if root is not None and prompt.side != root.side:
        raise Refused(409, messages="The same conversation is already in the other split; use other words.")
    return prompt


def add_prompts(*, project: Project, rows: Sequence[NewPrompt], by: User | None = None) -> list[Prompt]:
    """Add one prompt per row, in order; texts that stand already are found, not repeated, and given the answer that
    they lack.

    Raises Refused, which names each bad row, before anything is written. Outside a transaction a long list is written
    in parts; whoever sends it again after a failure has the rest added.
    """
    _check_all(rows, _check_prompt)
    clean = [[{"role": m["role"], "content": m["content"]} for m in row.messages] for row in rows]
    hashes = [splits.text_hash(messages) for messages in clean]
    standing = _standing(project, hashes)
    new: dict[str, Prompt] = {}
    for row, messages, text_hash in zip(rows, clean, hashes, strict=True):
        if text_hash not in standing and text_hash not in new:
            new[text_hash] = _new_prompt(project, row, messages, text_hash, by)
    # Two people may ask the same thing at the same moment: whoever comes second finds the first one's row.
    new_prompts = list(new.values())
    for start in range(0, len(new_prompts), _AT_ONCE):
        Prompt.objects.bulk_create(new_prompts[start : start + _AT_ONCE], ignore_conflicts=True)
    _answer_standing(standing, zip(hashes, rows, strict=True))
    standing |= _standing(project, list(new))
    return [standing[text_hash] for text_hash in hashes]


def _new_prompt(project: Project, row: NewPrompt, messages: Messages, text_hash: str, by: User | None) -> Prompt:
    return Prompt(
        project=project,
        messages=messages,
        text_hash=text_hash,
        category=row.category[:60],
        language=language_tags.parse_tag(row.language),
        root=row.root and (row.root.root or row.root),
        side=row.root.side if row.root else splits.split_of(messages, project.eval_percent),
        source=row.source[:200],
        created_by=by,
        answer=row.answer.strip(),
    )


def _answer_standing(standing: dict[str, Prompt], rows: Iterable[tuple[str, NewPrompt]]) -> None:
    """Give prompts that stand, by the hash of their text, the answers of these rows where they have none."""
    answers: dict[int, str] = {}
    for text_hash, row in rows:
        prompt = standing.get(text_hash)
        if prompt is not None and not prompt.answer and row.answer.strip():
            prompt.answer = answers[prompt.pk] = row.answer.strip()
    fill_answers(answers)


def fill_answers(answers: dict[int, str]) -> None:
    """Give prompts their right answers, by key, where they have none."""
    keys = list(answers)
    for start in range(0, len(keys), _CHUNK):
        prompts = list(Prompt.objects.filter(pk__in=keys[start : start + _CHUNK], answer=""))
        for prompt in prompts:
            prompt.answer = answers[prompt.pk].strip()
        Prompt.objects.bulk_update(prompts, ["answer"])


def add_completion(
    *,
    prompt: Prompt,
    model: LanguageModel | None,
    text: str,
    sampling: dict[str, Any] | None = None,
    seed: int | None = None,
    tokens: int | None = None,
    finish_reason: str = "",
    source: str = "",
    reasoning: str = "",
) -> Completion:
    """Add a completion. Refused when the text is empty or too long."""
    check_text(text)
    row = NewCompletion(prompt, model, text, sampling or {}, seed, tokens, finish_reason, source, reasoning)
    return add_completions(rows=[row])[0]


def add_completions(*, rows: Sequence[NewCompletion]) -> list[Completion]:
    """Return all of them or none. Errors name the row: `3.text`."""
    return prepare_completions(rows=rows)()


def prepare_completions(*, rows: Sequence[NewCompletion]) -> Callable[[], list[Completion]]:
    """Check all rows, and return what adds them: `add_completions` in two steps, the first without a transaction."""
    rows = [_without_thoughts(row) for row in rows]
    _check_all(rows, _check_completion)
    completions = [_new_completion(row) for row in rows]
    return lambda: Completion.objects.bulk_create(completions, batch_size=_CHUNK)  # in a transaction of its own


def _new_completion(row: NewCompletion) -> Completion:
    return Completion(
        prompt=row.prompt,
        model=row.model,
        text=row.text,
        reasoning=row.reasoning,
        sampling=row.sampling,
        seed=row.seed,
        tokens=row.tokens,
        prompt_tokens=row.prompt_tokens,
        cost=row.cost,
        finish_reason=row.finish_reason[:16],
        source=row.source[:200],
    )


def _check_prompt(row: NewPrompt) -> None:
    check_messages(row.messages)
    checked_language(row.language)
    check_answer(row.answer)


def checked_language(text: str) -> str:
    """Return the tag of a prompt's language as it is stored. Refused, as `language`, when it is none."""
    try:
        return language_tags.parse_tag(text)
    except ValueError as error:
        raise Refused(400, language=str(error)) from None


def check_answer(text: str) -> str:
    """Return a right answer as it is stored; "" for none. Refused, as `answer`, when it cannot be."""
    if text.strip():
        check_text(text, "answer", "The right answer")
    return text.strip()


def check_messages(messages: Any) -> None:
    """Check that it is a conversation that ends with the user's turn, each turn with some text, within the limit."""
    if not isinstance(messages, list) or not messages:
        raise Refused(400, messages='Give a list of turns such as [{"role": "user", "content": "…"}].')
    limit = settings.MAX_PROMPT_CHARACTERS
    for turn in messages:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise Refused(400, messages=f"Each turn needs a role ({', '.join(ROLES)}) and a content that is text.")
        check_text(turn["content"], "messages", "A turn", limit)
    if messages[-1]["role"] != "user":
        raise Refused(400, messages="The last turn must be the user's.")
    if len(messages) > 1 and sum(len(turn["content"]) for turn in messages) > limit:
        raise Refused(413, messages=f"The conversation is longer than {limit:,} characters; shorten it.")


def check_text(text: Any, field: str = "text", name: str = "A completion", limit: int | None = None) -> None:
    """Check that there is some text, not too much, and none that a database could not keep."""
    limit = limit or settings.MAX_COMPLETION_CHARACTERS
    if not isinstance(text, str) or not text.strip():
        raise Refused(400, **{field: f"{name} must not be empty."})
    if len(text) > limit:
        raise Refused(413, **{field: f"{name} has {len(text):,} characters; shorten it to {limit:,}."})
    if not is_storable(text):
        raise Refused(400, **{field: f"{name} contains a NUL or half a surrogate pair; send valid UTF-8 text."})


def _without_thoughts(row: NewCompletion) -> NewCompletion:
    """Return the completion with its thoughts apart: they are not annotated, and nothing learns from them."""
    text, thoughts = reasoning.split(row.text)
    return replace(row, text=text, reasoning=reasoning.joined(row.reasoning, thoughts)) if thoughts else row


def _check_completion(row: NewCompletion) -> None:
    if row.reasoning and not row.text.strip():
        raise Refused(400, text="It contains only reasoning (<think>); add the answer after it, or leave it out.")
    check_text(row.text)
    if row.reasoning:
        check_text(row.reasoning, "reasoning", "The reasoning of a completion")
    settings_text = json.dumps(row.sampling, ensure_ascii=False)
    if len(settings_text) > _LONGEST_SAMPLING or "\\u0000" in settings_text or not is_storable(settings_text):
        raise Refused(
            400,
            sampling=f"Send at most {_LONGEST_SAMPLING:,} characters of valid UTF-8, without NUL: temperature, top_p, "
            "max_new_tokens and the like.",
        )


def _check_all(rows: Iterable[Any], check: Any) -> None:
    """Check all rows, and refuse every bad one at once, by its index in the list, before anything is written."""
    errors: dict[str, str] = {}
    status = 400
    for index, row in enumerate(rows):
        try:
            check(row)
        except Refused as refused:
            status = refused.status
            errors |= {f"{index}.{name}": text for name, text in refused.errors.items()}
    if errors:
        raise Refused(status, **errors)


def _standing(project: Project, hashes: Sequence[str]) -> dict[str, Prompt]:
    prompts: dict[str, Prompt] = {}
    for start in range(0, len(hashes), _CHUNK):
        rows = Prompt.objects.filter(project=project, text_hash__in=hashes[start : start + _CHUNK])
        for prompt in rows:
            prompt.project = project  # at hand: whoever shows them need not ask for each
            prompts[prompt.text_hash] = prompt
    return prompts
