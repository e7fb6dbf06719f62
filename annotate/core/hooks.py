"""Declare plug points: places where an app calls what the apps above it have registered, without knowing them.

The lower app declares a `Hook` beside the code that uses it; the upper app registers there in its `AppConfig.ready`.
ARCHITECTURE.md lists every hook, and tests/unit/whole/test_plug_points.py compares that list with the code. Pure: no
Django.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
HOOKS: dict[str, Hook[Any]] = {}  # every hook of this process by its name, in the order of their imports


class BadRegistration(ValueError):
    """Raised when something is registered twice, or where another item has taken the only place."""


def dotted_name(item: object) -> str:
    """Return the module and name of a function or a class."""
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', repr(item))}"


class Hook(Mapping[str, T], Generic[T]):
    """Hold what was registered, by key, in the order of registration.

    An item is a function that the declaring app calls, or a value that it uses, such as a kind of run. `says` becomes
    the hook's docstring: when items are used, with what, and what comes back. `key` names an item; at most `most` of
    them are taken, any number where that is None.
    """

    def __init__(
        self, name: str, description: str, *, key: Callable[[T], str] = dotted_name, most: int | None = None
    ) -> None:
        if name in HOOKS:
            raise BadRegistration(f"There are two hooks called {name!r}: give one of them another name.")
        self.name, self.most = name, most
        self.__doc__ = description
        self.declared_in = _calling_module()
        self._key = key
        self._items: dict[str, T] = {}
        self._registered_in: dict[str, str] = {}
        HOOKS[name] = self

    def register(self, item: T) -> T:
        """Add an item and return it, so that this serves as a decorator, too. BadRegistration where it may not be."""
        key, module = self._key(item), _calling_module()
        if key in self._items:
            raise BadRegistration(
                f"{key!r} is registered twice with the hook {self.name!r}: in {self._registered_in[key]} and in "
                f"{module}. Take one of the two away."
            )
        if self.most is not None and len(self._items) >= self.most:
            raise BadRegistration(
                f"The hook {self.name!r} takes {self.most}, and {', '.join(self._items)} is registered already: "
                f"take that away, or do not register {key!r} in {module}."
            )
        self._items[key] = item
        self._registered_in[key] = module
        return item

    @property
    def first(self) -> T | None:
        """Return what was registered first; None where nothing is."""
        return next(iter(self._items.values()), None)

    @property
    def registered_in(self) -> Mapping[str, str]:
        """Return the module that registered each item, by the item's key."""
        return dict(self._registered_in)

    @contextmanager
    def holding(self, *items: T, keeps_registered: bool = False) -> Iterator[None]:
        """Hold these items until the block ends, instead of what is registered or beside it. For tests."""
        kept_items, kept_places = self._items, self._registered_in
        self._items = dict(kept_items) if keeps_registered else {}
        self._registered_in = dict(kept_places) if keeps_registered else {}
        try:
            for item in items:
                self.register(item)
            yield
        finally:
            self._items, self._registered_in = kept_items, kept_places

    def __getitem__(self, key: str) -> T:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<Hook {self.name!r}: {', '.join(self._items) or 'nothing'}>"


def _calling_module() -> str:
    """Return the module that declares a hook or registers with it: who called the method that asks."""
    return str(sys._getframe(2).f_globals.get("__name__", "?"))
