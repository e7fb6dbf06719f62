"""Read a list of people to invite, from a CSV file or as pasted, and say of each line what is wrong with it.

A line is an address, alone or with role, languages and batch, which are separated by commas, semicolons or tabs; a
first line that names the columns may put them in another order. Several languages have spaces between them: de pt-BR.
`Ada <ada@example.org>` and several addresses on one line are read, too. What a line leaves out is as the form says.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from email.utils import parseaddr

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from annotate.core.errors import Refused
from annotate.models import Role
from common.languages import language_tags

MOST_LINES, MOST_BYTES, LONGEST_LINE = 1_000, 1_000_000, 10_000
LONGEST_BATCH, LONGEST_ADDRESS = 60, 254
COLUMNS = ("email", "role", "language", "batch")
_HEADINGS = {"email": "email", "e-mail": "email", "address": "email", "mail": "email", "languages": "language"}
_HEADINGS |= {name: name for name in COLUMNS}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field of a line, and what would be right."""

    field: str
    text: str


@dataclass(frozen=True)
class Line:
    """One person to invite. `number` counts the lines of the list from 1, headings included."""

    number: int
    email: str
    role: str
    language: str = ""
    batch: str = ""
    problems: tuple[Problem, ...] = field(default=())


@dataclass(frozen=True)
class Defaults:
    """What holds where a line says nothing."""

    role: str = Role.ANNOTATOR.value
    language: str = ""
    batch: str = ""


def decoded(content: bytes) -> str:
    """Return the text of a file. Refuses one that is too large or not in UTF-8."""
    if len(content) > MOST_BYTES:
        raise Refused(413, file=f"It has {len(content):,} bytes; send at most {MOST_BYTES:,}, in several files.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            file=f"Byte {error.start:,} is not UTF-8; save the file as “CSV UTF-8” and send it again."
        ) from error


def read(text: str, defaults: Defaults, *, members: Collection[str] = (), invited: Collection[str] = ()) -> list[Line]:
    """Return a line for each person. `members` and `invited` are addresses, in lower case, that need no invitation.

    Raises Refused where there is nothing to read, too much of it, or a heading that is not known.
    """
    if "\x00" in text:
        raise Refused(people="The list contains a null character, which cannot be stored; remove it.")
    if len(text) > MOST_BYTES:
        raise Refused(
            413, people=f"The list has {len(text):,} characters; send at most {MOST_BYTES:,}, in several parts."
        )
    rows = list(_rows(text))
    columns, rows = _columns(rows)
    entries = [entry for number, cells in rows for entry in _entries(number, cells, columns)]
    if not entries:
        raise Refused(people="The list is empty; enter one address on each line.")
    if len(entries) > MOST_LINES:
        raise Refused(413, people=f"The list has {len(entries):,} people; invite at most {MOST_LINES:,} at once.")
    return check([_line(number, named, defaults) for number, named in entries], members=members, invited=invited)


def check(lines: list[Line], *, members: Collection[str] = (), invited: Collection[str] = ()) -> list[Line]:
    """Return the lines, each with all that is wrong with it."""
    first: dict[str, int] = {}
    checked = []
    for line in lines:
        problems = [*_address(line, first, members, invited), *_others(line)]
        first.setdefault(line.email.lower(), line.number)
        language, wrong = _languages(line.language)
        checked.append(replace(line, language=language, problems=(*problems, *wrong)))
    return checked


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that is not empty. A cell in quotes ends on its own line."""
    for number, raw in enumerate(text.splitlines(), start=1):
        if raw.strip():
            if len(raw) > LONGEST_LINE:  # csv refuses such a cell only where no other reader has told it to take longer
                raise Refused(people=f"Line {number} has over {LONGEST_LINE:,} characters; give each person a line.")
            separator = next((mark for mark in "\t;" if mark in raw), ",")
            cells = next(csv.reader([raw], delimiter=separator, skipinitialspace=True))
            yield number, [cell.strip() for cell in cells]


def _columns(rows: list[tuple[int, list[str]]]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the order of the columns, and the rows without the headings."""
    if not rows or not any(cell.lower() in _HEADINGS for cell in rows[0][1]) or any("@" in cell for cell in rows[0][1]):
        return list(COLUMNS), rows
    number, headings = rows[0]
    if unknown := [cell for cell in headings if cell.lower() not in _HEADINGS]:
        raise Refused(people=f"Line {number} has the heading {unknown[0]!r}; the columns are {', '.join(COLUMNS)}.")
    columns = [_HEADINGS[cell.lower()] for cell in headings]
    if len(set(columns)) < len(columns) or "email" not in columns:
        raise Refused(people=f"Line {number} must have the heading email, and each heading once.")
    return columns, rows[1:]


def _entries(number: int, cells: list[str], columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    filled = [cell for cell in cells if cell]
    if len(filled) > 1 and all("@" in cell for cell in filled):
        return [(number, {"email": cell}) for cell in filled]
    named = dict(zip(columns, cells, strict=False))
    if extra := [cell for cell in cells[len(columns) :] if cell]:
        named["extra"] = extra[0]
    return [(number, named)]


def _line(number: int, named: dict[str, str], defaults: Defaults) -> Line:
    written = named.get("email", "")
    address = parseaddr(written)[1] if "<" in written else written
    problems: tuple[Problem, ...] = ()
    if extra := named.get("extra"):
        problems = (
            Problem("line", f"There are extra values from {extra[:40]!r} on; the columns are {', '.join(COLUMNS)}."),
        )
    return Line(
        number,
        address or written,
        (named.get("role") or defaults.role).lower(),
        named.get("language") or defaults.language,
        named.get("batch") or defaults.batch,
        problems,
    )


def _address(
    line: Line, first: dict[str, int], members: Collection[str], invited: Collection[str]
) -> Iterator[Problem]:
    if not line.email:
        yield Problem("email", "The address is missing; add it, or remove the line.")
        return
    try:
        validate_email(line.email)
        if len(line.email) > LONGEST_ADDRESS:
            raise ValidationError("too long")
    except ValidationError:
        yield Problem("email", f"{line.email[:60]!r} is not an e-mail address; correct it, or remove the line.")
        return
    key = line.email.lower()
    if key in first:
        yield Problem("email", f"{line.email} is already on line {first[key]}; remove one of the two.")
    elif key in members:
        yield Problem("email", f"{line.email} is already a member; change the role under People instead.")
    elif key in invited:
        yield Problem("email", f"{line.email} has a valid invitation already; send it again instead.")


def _others(line: Line) -> Iterator[Problem]:
    yield from line.problems
    if line.role not in Role.values:
        yield Problem("role", f"{line.role[:40]!r} is not a role; use one of {', '.join(Role.values)}.")
    if len(line.batch) > LONGEST_BATCH:
        yield Problem("batch", f"It has {len(line.batch)} characters; keep it within {LONGEST_BATCH}.")


def _languages(text: str) -> tuple[str, tuple[Problem, ...]]:
    """Return the tags as they are stored, or the text as it is and what is wrong with it."""
    try:
        return language_tags.parse_list(text), ()
    except ValueError as error:
        return text, (Problem("language", str(error)),)
