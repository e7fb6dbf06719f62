"""Declare who may use an address: the words of a declaration, and the check that none is without one.

A declaration gives each method a right, such as `{"get": "read", "post": "manage"}`. A right is one of `RIGHTS`,
several of them (`"judge, mine"`: both must hold), or a choice (`"manage or staff"`). Pages and functions of the API are
declared by decorators (`page_access`, `api.api_access`), viewsets by `rights`, live pages by `right` (`api.api_access`,
`asgi.socket_access`). All refuse whom they can refuse before the view runs. The permission table of the docs and the
tests are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

Rights = Mapping[str, str]  # {method in lower case: right}

RIGHTS = {
    "anybody": "everybody, also visitors",
    "nobody": "switched off",
    "account": "everybody who is signed in",
    "mine": "the owner of the row; without another word: any account",
    "read": "everybody who can read the project: its members, and everybody if it is public",
    "judge": "members of the project",
    "review": "reviewers, researchers and managers of the project",
    "research": "researchers and managers of the project",
    "manage": "managers of the project",
    "researcher": "researchers and managers of any project",
    "staff": "staff of this installation",
    "project_maker": "staff, and where `ASSAY_PROJECTS_PER_PERSON` lets them, everybody who is signed in",
}
IN_PROJECT = ("read", "judge", "review", "research", "manage")  # each one includes those before it
_METHODS = ("get", "post", "put", "patch", "delete")  # `head` goes with `get`
_OF_VISITORS = {"anybody", "read"}
_OF_ACCOUNTS = {"account", "mine", "staff", "researcher", "project_maker"}


@cache  # asked for each entry of the map on each page
def alternatives(right: str) -> tuple[frozenset[str], ...]:
    """Return the choices of a right, each as the words that must all hold."""
    return tuple(frozenset(word.strip() for word in choice.split(",")) for choice in right.split(" or "))


def is_met(right: str, held: Set[str]) -> bool:
    """Return whether somebody who holds these words has the right."""
    return any(words <= held for words in alternatives(right))


@cache  # asked for each request
def is_for_visitors(right: str) -> bool:
    """Return whether somebody without an account may have this right."""
    return any(words & _OF_VISITORS and words <= _OF_VISITORS | {"mine"} for words in alternatives(right))


@cache
def is_for_accounts(right: str) -> bool:
    """Return whether this right wants an account and says nothing of a project."""
    return all(words & _OF_ACCOUNTS and not words & {*IN_PROJECT} for words in alternatives(right))


def action_of(right: str) -> str:
    """Return what every choice of a right includes in the project: one of `IN_PROJECT`. Raises ImproperlyConfigured."""
    lowest = []
    for words in alternatives(right):
        actions = [action for action in IN_PROJECT if action in words]
        if not actions:
            raise ImproperlyConfigured(f"{right!r} says nothing of the project; use one of {', '.join(IN_PROJECT)}.")
        lowest.append(actions[-1])
    return min(lowest, key=IN_PROJECT.index)


def checked(rights: Rights) -> Rights:
    """Return the declaration. Raises ImproperlyConfigured where it is empty or has a word that is not known."""
    if not rights:
        raise ImproperlyConfigured('A declaration names a right for each method, such as get="read".')
    for method, right in rights.items():
        unknown = set().union(*alternatives(right)) - RIGHTS.keys()
        if unknown or method not in _METHODS:
            raise ImproperlyConfigured(f"{method}={right!r} is no right; use words of {', '.join(RIGHTS)}.")
    return rights


def declare(view: Callable, rights: Rights) -> None:
    """Write the declaration onto a view."""
    view.rights = checked(rights)  # type: ignore[attr-defined]


def declared_by(callback: Any) -> Rights | None:
    """Return what the view of an address declares; None where it declares nothing."""
    of_class = getattr(getattr(callback, "cls", None), "rights", None)
    if of_class is not None and (actions := getattr(callback, "actions", None)):
        return {method: of_class[action] for method, action in actions.items() if method in _METHODS}
    return getattr(callback, "rights", None)


def require_declared(names: Iterable[str]) -> None:
    """Refuse to start where an address declares nothing: `names` are those of such addresses."""
    if missing := sorted(names):
        raise ImproperlyConfigured(f"Say who may use these, by `allows` or `in_project`: {', '.join(missing)}.")
