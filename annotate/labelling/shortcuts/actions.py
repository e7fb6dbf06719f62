"""Change a person's own keys on the annotation page. They belong to the account; only what differs from the defaults is
kept."""

from __future__ import annotations

from collections.abc import Mapping

from annotate.core.errors import Refused
from annotate.labelling.shortcuts.keys import DEFAULTS, merged, normal, problems
from annotate.models import User


def change(*, user: User, keys: Mapping[str, object]) -> dict[str, str]:
    """Set the keys of some actions; the others stay. Refuses all of them when two actions would share a key."""
    for name, key in keys.items():
        if name not in DEFAULTS:
            raise Refused(**{str(name)[:80]: f"There is no such action; the actions are {', '.join(DEFAULTS)}."})
        if not isinstance(key, str):
            raise Refused(**{name: "Use one letter, digit or sign, or Enter."})
    new_keys = merged(user.shortcuts) | {name: normal(str(key)) for name, key in keys.items()}
    if wrong := problems(new_keys):
        raise Refused(**wrong)
    user.shortcuts = {name: key for name, key in new_keys.items() if key != DEFAULTS[name]}
    user.save(update_fields=["shortcuts"])
    return new_keys


def reset(*, user: User) -> dict[str, str]:
    user.shortcuts = {}
    user.save(update_fields=["shortcuts"])
    return dict(DEFAULTS)
