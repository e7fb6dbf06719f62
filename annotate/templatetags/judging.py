"""Help the annotation page's templates: keys, how much history to open, values of fields with a composed name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.utils.html import escape, json_script
from django.utils.safestring import SafeString, mark_safe

from annotate.labelling.shortcuts.keys import GROUPS, Group, keys_of_group, merged, second_keys
from common.sampling import cut_note

register = template.Library()
OPEN_CHARACTERS = 1_500  # of earlier turns: about a screen's half


@register.simple_tag
def keys_of(user: Any) -> dict[str, str]:
    """Return every action's key for this person."""
    return merged(getattr(user, "shortcuts", None) or {})


@register.simple_tag
def all_key_groups() -> tuple[Group, ...]:
    return GROUPS


@register.filter
def letters(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the second key of each action that has one, where this person has not given it to something else."""
    return {action: letter for group in GROUPS for action, letter in second_keys(keys, group).items()}


@register.simple_tag
def keymap_json(user: Any) -> SafeString:
    """Return {group: {key: action}} for the page's script."""
    keys = keys_of(user)
    return json_script({group.name: keys_of_group(keys, group) for group in GROUPS}, "keymap")


@register.simple_tag(name="cut_note")
def cut_note_of(completion: Any, others_given: Any = ()) -> str:
    """Say whether an answer was cut: `{% cut_note completion answers %}`; `answers` are what is judged blind with it,
    with or without letters."""
    others = [each[1] if isinstance(each, tuple) else each for each in others_given or ()]
    return cut_note(completion or None, others)


@register.filter
def at(mapping: Any, name: object) -> Any:
    """Return `{{ mapping|at:name }}`; nothing where it is not there."""
    value = mapping.get(name) if isinstance(mapping, Mapping) else None
    if value is None and isinstance(mapping, Mapping):
        value = mapping.get(str(name))
    return "" if value is None else value


@register.simple_tag
def action_name(*parts: object) -> str:
    """Name an action: `{% action_name "step" 4 as name %}` is step_4."""
    return "_".join(str(part).lower() for part in parts)


@register.simple_tag
def go_to_action(kind: str, letter: str) -> str:
    """Name the action that goes to an answer: where two are compared, their letters choose."""
    return f"{'look' if kind == 'compare' else 'answer'}_{letter.lower()}"


@register.filter
def key_name(key: object) -> SafeString:
    """Return a key's name as it is engraved: capital letters."""
    text = str(key)
    return mark_safe(f"<kbd>{escape(text if text == 'Enter' else text.upper())}</kbd>") if text else SafeString()


@register.filter
def earlier(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return list(messages[:-1])


@register.filter
def is_short(messages: Sequence[Mapping[str, str]]) -> bool:
    """Return whether the turns are few words together, so that they may stand open."""
    return sum(len(message["content"]) for message in messages) <= OPEN_CHARACTERS


@register.filter
def spans_json(spans: object) -> str:
    return spans if isinstance(spans, str) else json.dumps(spans or [])
