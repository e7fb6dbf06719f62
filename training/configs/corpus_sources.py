"""Read the lines of `sources`: files, a Hub corpus, texts that Python carries, or the app's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

PYTHON = ("topics", "docstrings")
APP = ("answers", "demonstrations")
SUFFIXES = (".txt", ".jsonl", ".parquet")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HUB = re.compile(rf"(?P<name>{_NAME}/{_NAME})(/(?P<config>{_NAME}))?(:(?P<split>[A-Za-z0-9_.-]+))?")
_MOST = 200


class BadSource(ValueError):
    """A line that orders nothing, in words that say what would."""


@dataclass(frozen=True)
class Order:
    """Hold one line of `sources`. `scheme` is file, hub, python or app; `name` a pattern of files, a Hub name, or which
    texts."""

    line: str
    scheme: str
    name: str
    config: str = ""
    split: str = ""


def read_orders(text: str) -> list[Order]:
    """Return the lines of `sources`, each once. Raises BadSource with the line and the remedy."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not lines:
        raise BadSource(
            "Enter at least one source, one on each line: a file, hub:owner/name, python:topics or app:answers."
        )
    if len(lines) > _MOST:
        raise BadSource(f"{len(lines)} lines are too many; use at most {_MOST}, with patterns such as web/*.jsonl.")
    if twice := next((line for line in lines if lines.count(line) > 1), None):
        raise BadSource(f"{twice} is there twice; remove one line.")
    return [_order(line) for line in lines]


def local_words(order: Order) -> str:
    return (
        f"{order.line} is a folder of this machine, not a corpus on the Hub; upload its files, or use "
        "a corpus on the Hub."
    )


def _order(line: str) -> Order:
    scheme, colon, rest = line.partition(":")
    if colon and scheme == "hub":
        return _hub(line, rest)
    for known_scheme, names in (("python", PYTHON), ("app", APP)):
        if colon and scheme == known_scheme:
            if rest not in names:
                raise BadSource(f"{line} is unknown; use {' or '.join(f'{known_scheme}:{name}' for name in names)}.")
            return Order(line, known_scheme, rest)
    if colon and re.fullmatch(r"[a-z]{2,}", scheme):
        raise BadSource(f"{line} is not a source; a line is a file, or starts with hub:, python: or app:.")
    return _file(line)


def _hub(line: str, rest: str) -> Order:
    match = _HUB.fullmatch(rest)
    if not match:
        raise BadSource(
            f"{line} is not a name on the Hub; use hub:owner/name, hub:owner/name/config or hub:owner/name:split."
        )
    return Order(line, "hub", match["name"], match["config"] or "", match["split"] or "train")


def _file(line: str) -> Order:
    if "\x00" in line:
        raise BadSource("A file name cannot contain a NUL character.")
    if ".." in re.split(r"[/\\]", line):
        raise BadSource(f"{line} leaves its folder by '..'; use the path below the folder.")
    if not line.removesuffix(".gz").endswith(SUFFIXES):
        raise BadSource(
            f"{line} is neither txt, jsonl nor parquet (or one of them with .gz); convert it to one of these."
        )
    return Order(line, "file", line)
