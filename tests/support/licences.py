"""Compare the licences of all packages that requirements.lock pins with those that may be used beside Apache-2.0.

`python -m tests.support.licences` lists them. What a package says is its SPDX expression, else its classifiers, else
the first line of its licence's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
# They ask for nothing but their notice, or (MPL) for changes of their own files.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
# What older packages call them.
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
}
# Looked at one by one: (what the package says, why it may be used).
LOOKED_AT = {
    "axe-playwright-python": ("", "its file of the licence is MIT; axe-core in it is MPL-2.0; for tests alone"),
    "chardet": (
        "GNU Lesser General Public License v2 or later (LGPLv2+)",
        "a library that others here import, unchanged",
    ),
    "psycopg": ("LGPL-3.0-only", "a library that we import, unchanged"),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg"),
    "psycopg-pool": ("LGPL-3.0-only", "as psycopg"),
    "pytest-timeout": ("DFSG approved AND MIT License", "MIT; for tests alone"),
    "qrcode": ("BSD License AND Other/Proprietary License", "BSD; the other is the MIT licence of what it began with"),
}


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str  # as it says itself; several classifiers are joined by AND


def packages() -> list[Package]:
    """Return those of the lock that are installed here; a marker or a build of torch may leave some out."""
    return [package for name in names() if (package := _installed(name)) is not None]


def names() -> list[str]:
    """Return the names of all packages of the lock."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [Requirement(line).name for line in lines]


def unfit(packages: Iterable[Package]) -> list[str]:
    """Return those whose licence is neither allowed nor looked at, in words."""
    return [f"{each.name} {each.version}: {each.licence or 'says no licence'}" for each in packages if not _fits(each)]


def is_allowed(licence: str) -> bool:
    """Return whether an expression is met by what is allowed: all that AND joins, one of what OR joins."""
    return any(
        all(NAMES.get(part, part) in ALLOWED for part in choice.split(" AND ")) for choice in licence.split(" OR ")
    )


def _fits(package: Package) -> bool:
    looked_at = LOOKED_AT.get(package.name)
    return is_allowed(package.licence) or (looked_at is not None and looked_at[0] == package.licence)


def _installed(name: str) -> Package | None:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    says = found.metadata.get("License-Expression") or _classified(found) or _first_line(found)
    return Package(name, found.version, says)


def _classified(found: metadata.Distribution) -> str:
    classifiers = found.metadata.get_all("Classifier") or []
    names = [text.rpartition("::")[2].strip() for text in classifiers if text.startswith("License ::")]
    return " AND ".join(sorted(set(names) - {"OSI Approved"}))


def _first_line(found: metadata.Distribution) -> str:
    return (found.metadata.get("License") or "").strip().partition("\n")[0]


if __name__ == "__main__":
    for each in packages():
        print(f"{each.name} {each.version}: {each.licence or LOOKED_AT.get(each.name, ('', 'says no licence'))[1]}")
