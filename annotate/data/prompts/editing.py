"""Edit prompts. A prompt that other rows depend on is never edited: a new one replaces it, and the old one is
retired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, models, transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.hooks import Hook
from annotate.core.permissions import require
from annotate.data.prompts.actions import Messages, add_prompt, check_answer, check_messages, checked_language
from annotate.data.prompts.retirement import retire
from annotate.models import Prompt, QueueChange, User
from annotate.models.prompts import ASKED_BY_PEOPLE
from common import splits
from common.texts import is_storable

LONGEST_CATEGORY = 60
# Rows that a program makes of a prompt, and makes anew.
_DERIVED = ("queueentry", "itempriority", "found_language")

CATEGORY_CHANGES: Hook[Callable[[Prompt, str], None]] = Hook(
    "changes of a category",
    "Called with a prompt that has just got another category, and with its former one, in that transaction.",
)


@dataclass(frozen=True)
class Edited:
    """Hold what an edit left: `prompt` as it is now, and the prompt that it `replaced`, if any."""

    prompt: Prompt
    replaced: Prompt | None = None


@transaction.atomic
def edit_prompt(
    *,
    prompt: Prompt,
    by: User,
    messages: Messages | None = None,
    category: str | None = None,
    language: str | None = None,
    answer: str | None = None,
) -> Edited:
    """Change text, category, language or right answer. Where answers, annotations or datasets depend on the prompt,
    another text makes a new prompt. Refused, by field, where it may not be changed."""
    require(by, "research", prompt.project)
    project = prompt.project
    prompt = Prompt.objects.select_for_update(no_key=True).get(pk=prompt.pk)
    prompt.project, category_before = project, prompt.category
    if category is not None and category.strip() != prompt.category:
        _set(prompt, "category", _checked_category(category), by)
    if language is not None and (tag := checked_language(language)) != prompt.language:
        _set(prompt, "language", tag, by)
        QueueChange.note(prompt.project_id, [prompt.pk])
    if answer is not None and check_answer(answer) != prompt.answer:
        _set(prompt, "answer", answer.strip(), by)
    edited = Edited(prompt) if messages is None else _edit_text(prompt, messages, by)
    if prompt.category != category_before:
        for changed in CATEGORY_CHANGES.values():  # last: what they lock, everybody waits for
            changed(prompt, category_before)
    return edited


def _edit_text(prompt: Prompt, messages: Messages, by: User) -> Edited:
    check_messages(messages)
    clean = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
    if clean == prompt.messages:
        return Edited(prompt)
    _require_editable(prompt)
    _require_new(prompt, clean)
    return _replace(prompt, clean, by) if any(depends_on(prompt)) else _rewrite(prompt, clean, by)


def depends_on(prompt: Prompt) -> Iterator[str]:
    """Yield what other rows depend on the prompt, such as "completions", one look at a time; nothing where its text may
    be changed."""
    return (name for name, rows in _related(prompt) if name not in (*_DERIVED, "replaces") and rows.exists())


def _related(prompt: Prompt) -> list[tuple[str, models.QuerySet[Any]]]:
    """Return (name, its rows) of every relation that points at the prompt, those of other apps too."""
    rows = []
    for relation in prompt._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ForeignObjectRel):
            is_named = relation.related_name and not relation.related_name.endswith("+")
            name = relation.related_name if is_named else relation.related_model.__name__
            manager = relation.related_model._base_manager
            rows.append((str(name).lower(), manager.filter(**{relation.field.name: prompt})))
    return rows


def _checked_category(category: str) -> str:
    category = category.strip()
    if len(category) > LONGEST_CATEGORY or not is_storable(category):
        raise Refused(400, category=f"Use a category of at most {LONGEST_CATEGORY} characters.")
    return category


def _set(prompt: Prompt, field: str, value: str, by: User) -> None:
    changes = {field: [getattr(prompt, field), value]}
    setattr(prompt, field, value)
    prompt.save(update_fields=[field])
    audit.record(action=f"prompt.{field}", about=_about(prompt), by=by, project=prompt.project, changes=changes)


def _require_editable(prompt: Prompt) -> None:
    if prompt.replaced_by_id is not None:
        raise Refused(409, messages=f"Prompt {prompt.replaced_by_id} has replaced this one; edit that one.")
    if prompt.out_since is not None:
        raise Refused(409, messages="The prompt is retired; bring it back before you edit it.")
    if prompt.source in ASKED_BY_PEOPLE:
        raise Refused(
            409, messages=f"A person wrote this prompt ({prompt.source}); you can retire it, but not edit it."
        )


def _require_new(prompt: Prompt, messages: Messages) -> None:
    """Refuse a text that another prompt has, or that only looks different."""
    text_hash = splits.text_hash(messages)
    twin = Prompt.objects.filter(project=prompt.project, text_hash=text_hash).exclude(pk=prompt.pk).first()
    if twin is not None:
        raise Refused(409, messages=f"Prompt {twin.pk} has the same text; retire this one instead.")
    if text_hash == prompt.text_hash and any(depends_on(prompt)):
        raise Refused(
            409,
            messages="Only capitals or spaces differ, so it is the same prompt, and it has answers; change "
            "a word, or leave it unchanged.",
        )


def _replace(prompt: Prompt, messages: Messages, by: User) -> Edited:
    new = add_prompt(
        project=prompt.project,
        messages=messages,
        category=prompt.category,
        source=prompt.source,
        by=by,
        root=prompt.root,
        language=prompt.language,
        answer=prompt.answer,
    )
    if prompt.harm:
        Prompt.objects.filter(pk=new.pk).update(harm=prompt.harm)
        new.harm = prompt.harm
    retire(prompt, f"replaced by prompt {new.pk}", by, replaced_by=new)
    changes = {"prompt": [prompt.pk, new.pk], "messages": [prompt.messages, messages], "side": [prompt.side, new.side]}
    audit.record(action="prompt.replaced", about=_about(new), by=by, project=prompt.project, changes=changes)
    return Edited(new, replaced=prompt)


def _rewrite(prompt: Prompt, messages: Messages, by: User) -> Edited:
    before = {"messages": prompt.messages, "side": prompt.side}
    prompt.messages, prompt.text_hash = messages, splits.text_hash(messages)
    if prompt.root is None:
        prompt.side = splits.split_of(messages, prompt.project.eval_percent)
    for name, rows in _related(prompt):
        if name in _DERIVED:
            rows.delete()
    try:
        with transaction.atomic():
            prompt.save(update_fields=["messages", "text_hash", "side"])
    except IntegrityError as error:  # somebody has just added the same text
        raise Refused(409, messages="Another prompt has the same text; retire this one instead.") from error
    QueueChange.note(prompt.project_id, [prompt.pk])
    changes = audit.differences(before, {"messages": messages, "side": prompt.side})
    audit.record(action="prompt.edited", about=_about(prompt), by=by, project=prompt.project, changes=changes)
    return Edited(prompt)


def _about(prompt: Prompt) -> str:
    return f"prompt {prompt.pk}: {prompt.text[:80]}"
