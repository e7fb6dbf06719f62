"""Distinguish a host that has the web's packages alone (requirements-web.txt) from one that can train."""

from __future__ import annotations

from importlib.util import find_spec

REMEDY = "python -m pip install -r requirements.txt -c requirements.lock"


class PackageMissing(RuntimeError):
    """A package of requirements.txt is not installed here. Its text is for people."""


def require_package(name: str, purpose: str) -> None:
    """Refuse what needs a package that is not installed here, without importing it.

    `purpose` begins the sentence: "Reading weights". Raises PackageMissing with both remedies.
    """
    if find_spec(name) is None:
        raise PackageMissing(
            f"{purpose} needs {name}, and this host has only the packages of requirements-web.txt. "
            f"Do it on a host that trains, or install the rest here: {REMEDY}"
        )
