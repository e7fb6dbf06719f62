"""Decide what of a model may leave as which files, write its card beside them, and find the files to be downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AnonymousUser

from annotate.core import audit
from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.core.permissions import projects_where
from annotate.models import LanguageModel, User
from evaluation.registry import model_card
from training.core.run_directory import Row
from training.models import Run
from training.serving import adapter_bases


def card(run: Run) -> dict[str, list[Row]]:
    """Return the card as it stands when the run begins, with what the person who queued it may read."""
    assert run.parent is not None, "the queue takes no run without a parent"
    readable = projects_where(run.created_by or AnonymousUser(), "read")
    readme = model_card.markdown(run.parent, readable=readable)
    base = adapter_bases.base_of(run.parent)
    named = (base.origin if re.fullmatch(r"[\w.-]+/[\w.-]+", base.origin, re.ASCII) else base.name) if base else ""
    about = {"name": run.parent.name, "licence": run.parent.licence, "readme": readme, "base": named}
    return {"card": [about]}


def fits(parent: LanguageModel, config: Any) -> dict[str, str]:
    """Return whether the export fits: GGUF is what programs that write text read."""
    if config.to == "gguf" and parent.kind != LanguageModel.Kind.POLICY:
        return {
            "to": f"{parent.name} is a {parent.kind}, and only policies can be exported as GGUF; choose safetensors."
        }
    return {}


def context(run: Run) -> dict[str, Any]:
    """Return the files of an export that ended well, with how llama.cpp and others open them."""
    files = run.result.get("files") or []
    return {"export_files": [f | {"is_gguf": f["name"].endswith(".gguf")} for f in files], "hub": run.result.get("hub")}


def note_download(run: Run, name: str, by: User) -> None:
    """Record in the audit trail who took weights away from this machine."""
    audit.record(action="weights.downloaded", about=f"{name} of {run.parent}", by=by, project=run.project)


def exported_file(run: Run, name: str) -> Path:
    """Return where an exported file lies. Raises Refused: 404 for what the run's result does not name, 410 for what is
    gone."""
    named = {file["name"] for file in run.result.get("files") or []}
    path = run.path / "export" / name
    # Names come from a result that a recipe wrote: one that is no plain name of a file there is not served.
    is_plain = name == Path(name).name and path.parent == run.path / "export" and not path.is_symlink()
    if run.kind != "export" or name not in named or not is_plain:
        raise Refused(404, file="The run has no such file.")
    path = local_copies.bring_file(path)
    if not path.is_file():
        raise Refused(410, file="The file is no longer on this machine; queue the export again with the same options.")
    return path
