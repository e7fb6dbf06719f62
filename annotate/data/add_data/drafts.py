"""Keep a file that somebody looks at before they add it, and name it in an address that only they can use."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from django.core import signing

from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.data.imports import kept_files
from annotate.data.imports.kept_files import KeptFile
from annotate.models import Project, User
from common.texts import with_line_feeds

_SALT = "assay.add-data"
_SECONDS = kept_files.KEPT_DAYS * 24 * 3600
LONGEST_TEXT = 800_000  # characters that are pasted
PASTED = "pasted"


@dataclass(frozen=True)
class Draft:
    """Hold a kept file and the `token` that stands for it in an address."""

    file: KeptFile
    token: str

    @property
    def path(self) -> Path:
        return kept_files.path_of(self.file.hash)


def keep_file(file: BinaryIO, name: str, *, project: Project, by: User) -> Draft:
    """Keep a file for a look at it. Refused when it is empty or too large."""
    require(by, "research", project)
    kept_file = kept_files.keep(file, name)
    content = {"hash": kept_file.hash, "name": kept_file.name, "bytes": kept_file.bytes}
    return Draft(kept_file, signing.dumps(content | _owner(project, by), salt=_SALT, compress=True))


def keep_text(text: str, *, project: Project, by: User) -> Draft:
    """Keep what somebody pasted, as a file of the kind that it looks like."""
    text = with_line_feeds(text).strip()
    if not text:
        raise Refused(400, text="Paste text, or choose a file.")
    if len(text) > LONGEST_TEXT:
        raise Refused(413, text=f"You can paste at most {LONGEST_TEXT:,} characters; send a file instead.")
    return keep_file(BytesIO(text.encode(errors="replace")), f"{PASTED}{_ending(text)}", project=project, by=by)


def draft_of(token: str, *, project: Project, by: User) -> Draft:
    """Return the draft of a token. Refused where it is somebody else's, or its file is gone."""
    gone = Refused(410, file=f"The file was kept for {kept_files.KEPT_DAYS} days and is gone; send it again.")
    try:
        content = signing.loads(token, salt=_SALT, max_age=_SECONDS)
    except signing.BadSignature as error:
        raise gone from error
    if {name: content[name] for name in ("project", "by")} != _owner(project, by):
        raise gone
    draft = Draft(KeptFile(content["name"], content["hash"], content["bytes"]), token)
    if not draft.path.exists():
        raise gone
    return draft


def _owner(project: Project, by: User) -> dict[str, int]:
    return {"project": project.pk, "by": by.pk}


def _ending(text: str) -> str:
    first = text.partition("\n")[0]
    if first.lstrip().startswith(("{", "[")):
        return ".jsonl"
    return ".tsv" if "\t" in first else ".txt"
