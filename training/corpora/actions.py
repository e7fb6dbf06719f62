"""Tell a corpus recipe what only the site knows: whose files, which texts of the app, what ranks models.

A file that somebody uploads belongs to a project and lies in ASSAY_DATA/corpus-uploads/<project>; ASSAY_DATA/corpora
and the folders of ASSAY_CORPUS_FOLDERS are the operator's, for every project. Nothing else on the machine is read.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from annotate.core import audit
from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import Completion, Demonstration, Project, Split, User
from common.artefacts.storage_problems import StorageProblem
from training.configs import CorpusConfig
from training.configs.corpus_sources import SUFFIXES, BadSource, read_orders
from training.core.run_directory import Row, RunDirectory
from training.corpora.reading.allowed_files import files_of
from training.models import Run
from training.runs.ordering import hub_access as hubs

LARGEST_UPLOAD = 500_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN = 500


def section(run: Run) -> dict[str, Any]:
    """Return what the page of a corpus run shows beside what all pages of runs do."""
    return {"corpus_report": report_of(run)}


def report_of(run: Run) -> Row | None:
    """Return the report of a run that has ended, or as its last checkpoint has it."""
    if run.result.get("report"):
        return run.result["report"]
    latest = RunDirectory(run.path).latest_checkpoint()
    try:
        return json.loads((latest / "report.json").read_text(encoding="utf-8")) if latest else None
    except FileNotFoundError:
        return None  # the recipe has just put a later one in its place


def folders(project: Project) -> list[Path]:
    """Return where a corpus run of this project may read, the project's own uploads first."""
    return [upload_folder(project), settings.DATA_DIR / "corpora", *settings.CORPUS_FOLDERS]


def upload_folder(project: Project) -> Path:
    return settings.DATA_DIR / "corpus-uploads" / project.slug


def _bring_files(project: Project) -> None:
    """Fetch uploads that other hosts received, and what operators have stored. Raises StorageProblem."""
    for folder in (upload_folder(project), settings.DATA_DIR / "corpora"):
        local_copies.bring_below(folder)


def check(project: Project, config: CorpusConfig) -> dict[str, str]:
    """Check files that are not there or may not be read, before the run is queued."""
    _bring_files(project)
    try:
        orders = read_orders(config.sources)
        hubs.check_names(orders)
        for order in orders:
            if order.scheme == "file":
                files_of(order, folders(project))
    except BadSource as error:
        return {"sources": str(error)}
    return {}


def rows(run: Run) -> dict[str, list[Row]]:
    """Return what the recipe is handed: the folders, the app's texts when they are asked for, and what must not be
    learnt."""
    _bring_files(run.project)
    names = {order.name for order in read_orders(run.config["sources"]) if order.scheme == "app"}
    held_out = eval_texts(run.project) if run.config.get("evaluation_texts", True) else ()
    return {
        "folders": [{"folder": str(folder)} for folder in folders(run.project)],
        "app_texts": [{"text": text, "source": name} for name, text in _app_texts(run.project, names)],
        "eval_texts": [{"text": text} for text in held_out],
    }


def eval_texts(project: Project) -> Iterator[str]:
    """Return all that ranks models here: the prompts of the eval split, every answer to them, and the written
    references."""
    for prompt in project.prompts.filter(side=Split.EVAL).iterator():
        yield from (turn["content"] for turn in prompt.messages)
    of_eval = {"prompt__project": project, "prompt__side": Split.EVAL}
    yield from Completion.objects.filter(**of_eval).values_list("text", flat=True).iterator()
    yield from Demonstration.objects.filter(**of_eval).values_list("text", flat=True).iterator()


def _app_texts(project: Project, texts: set[str]) -> Iterator[tuple[str, str]]:
    """Yield texts of the train split alone. Answers that somebody flagged, and demonstrations that do not count, stay
    out."""
    of_train: dict[str, Any] = {"prompt__project": project, "prompt__side": Split.TRAIN}
    if "answers" in texts:
        answers = Completion.objects.filter(**of_train, flags__isnull=True).values_list("text", flat=True)
        yield from (("answers", text) for text in answers.iterator())
    if "demonstrations" in texts:
        demonstrations = Demonstration.objects.counted().filter(**of_train).values_list("text", flat=True)
        yield from (("demonstrations", text) for text in demonstrations.iterator())


@dataclass(frozen=True)
class CorpusFile:
    """Describe an uploaded file. `name` is what a line of `sources` says."""

    name: str
    bytes: int
    is_own: bool  # uploaded to this project, not put there by the operator


def files(project: Project) -> list[CorpusFile]:
    """Return what `sources` may name here, of the uploads and of ASSAY_DATA/corpora."""
    own_folder, shared = upload_folder(project), settings.DATA_DIR / "corpora"
    files_by_name = {}
    for folder in (shared, own_folder):
        for path in sorted(folder.rglob("*"))[:_SHOWN] if folder.is_dir() else []:
            if path.is_file() and path.name.removesuffix(".gz").endswith(SUFFIXES):
                name = str(path.relative_to(folder))
                files_by_name[name] = CorpusFile(name, path.stat().st_size, folder == own_folder)
        for path, size in local_copies.stored_below(folder).items():
            name = str(path.relative_to(folder))
            if not path.exists():  # another host received it
                files_by_name[name] = CorpusFile(name, size, folder == own_folder)
    return sorted(files_by_name.values(), key=lambda file: file.name)


def upload(*, project: Project, file: UploadedFile, by: User) -> CorpusFile:
    """Keep a file for this project's corpora. It is never replaced: a run that has read it must find it again."""
    require(by, "research", project)
    name = Path(file.name or "").name
    if not _NAME.fullmatch(name):
        raise Refused(400, file="Use a file name of at most 100 letters, digits, dots, dashes and underscores.")
    if not name.removesuffix(".gz").endswith(SUFFIXES):
        raise Refused(400, file=f"{name} is neither .txt, .jsonl nor .parquet (or one of them with .gz).")
    if (file.size or 0) > LARGEST_UPLOAD:
        most = LARGEST_UPLOAD // 10**6
        raise Refused(
            413,
            file=f"The file is larger than {most} MB; compress it, or ask the operator to put it into "
            "ASSAY_DATA/corpora.",
        )
    if not file.size:
        raise Refused(400, file="The file is empty.")
    path = upload_folder(project) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_once(file, path)
    audit.record(action="corpus.uploaded", about=f"{name} ({path.stat().st_size} bytes)", by=by, project=project)
    return CorpusFile(name, path.stat().st_size, True)


def _store(path: Path) -> None:
    """Store an upload for the other hosts; one that cannot be stored is not kept either. Raises StorageProblem."""
    try:
        local_copies.keep(path)
    except StorageProblem:
        path.unlink()
        raise


def _write_once(file: UploadedFile, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial-{id(file):x}")
    try:
        with partial.open("wb") as output:
            shutil.copyfileobj(file, output)
        if not path.exists() and local_copies.is_available(path):  # another host received one of that name
            raise FileExistsError
        path.hardlink_to(partial)
        _store(path)
    except FileExistsError:
        raise Refused(
            409, file=f"There is already a {path.name}, which runs may have read; choose another name."
        ) from None
    finally:
        partial.unlink(missing_ok=True)
