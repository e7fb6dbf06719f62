"""Settle a person's own keys with the defaults, which may have changed since the person chose."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from string import ascii_lowercase, digits


def settled(
    defaults: Mapping[str, str], own_keys: Mapping[str, str], rivals: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Return the key of every action. An own key is never moved; a default that meets one gets a key that is free.

    `rivals`: for each action those that may not have the same key. A default that has to move takes the key that the
    person's own choice has left, so that two keys are exchanged where that is possible.
    """
    keys = {**defaults, **own_keys}
    for name in defaults:
        if name not in own_keys and _meets(keys[name], own_keys, rivals[name]):
            left_keys = [defaults[own] for own, key in own_keys.items() if key == keys[name]]
            keys[name] = _free([*left_keys, *digits, *ascii_lowercase], keys) or keys[name]
    return keys


def _meets(key: str, own_keys: Mapping[str, str], rivals: Collection[str]) -> bool:
    return any(own_keys.get(other) == key for other in rivals)


def _free(candidates: Iterable[str], keys: Mapping[str, str]) -> str:
    used = set(keys.values())
    return next((key for key in candidates if key not in used), "")
