"""List the Python functions that may reward a run: those in ASSAY_REWARD_FUNCTIONS, each by a name.

A researcher chooses a name and never a dotted path: any importable path would be a shell on the worker's machine, such
as `pydoc.pipepager` on the policy's words. Forms, API and YAML take names; the worker writes the path that the name
stands for into the run directory. A recipe that somebody starts by hand takes what its run directory says: whoever may
write there and start programs here needs no reward function to run code.
"""

from __future__ import annotations

import re

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

VARIABLE = "ASSAY_REWARD_FUNCTIONS"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def read_list(text: str) -> dict[str, str]:
    """Read {name: dotted path} from `name=package.module.function, …`. Raises ImproperlyConfigured."""
    paths: dict[str, str] = {}
    for entry in (part.strip() for part in text.split(",")):
        if not entry:
            continue
        name, _, path = (part.strip() for part in entry.partition("="))
        if not name or not _PATH.fullmatch(path):
            raise ImproperlyConfigured(
                f"{VARIABLE}: {entry!r} is no reward; write name=package.module.function, with commas between several."
            )
        if name in paths:
            raise ImproperlyConfigured(f"{VARIABLE} has {name!r} twice; give each function a name of its own.")
        paths[name] = path
    return paths


def names() -> list[str]:
    return list(settings.REWARD_FUNCTIONS)


def path_of(name: str) -> str:
    """Return the dotted path of a listed function. Raises ValueError that says which there are.

    A path that is listed stands for itself: runs of before the list keep one in their config.
    """
    listed: dict[str, str] = settings.REWARD_FUNCTIONS
    if isinstance(name, str) and (name in listed or name in listed.values()):
        return listed.get(name, name)
    if not listed:
        raise ValueError(
            f"{name!r} is not allowed here: the operator lists no reward functions ({VARIABLE}). Use a reward model."
        )
    raise ValueError(f"must be one of {', '.join(listed)}, not {name!r}: the operator lists them in {VARIABLE}.")
