"""Hold one text of the interface and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

SORTS = ("text", "attribute", "error", "message", "form", "model", "catalogue", "script")


@dataclass(frozen=True, order=True)
class FoundText:
    """Hold a text, its subject (`annotate/labelling`), its file and line, and its sort, one of `SORTS`."""

    subject: str
    path: str
    line: int
    sort: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}\t{self.path}:{self.line}\t{self.sort}\t{self.text}"


def subject_of(path: str) -> str:
    """Return the app and the subject of a file: templates, static files and code of one subject have the same."""
    parts = path.split("/")
    if parts[0] in ("templates", "static"):
        parts = parts[1:]
    return "/".join(parts[: min(2, len(parts) - 1)]) or "site"
