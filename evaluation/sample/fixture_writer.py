"""Write the sample project's fixture from a finished turn: what `manage.py export_sample` does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import BinaryField, Model, Q

from annotate.models import Dataset, LanguageModel, Project, User
from evaluation.sample import fixture_files
from evaluation.sample.fixture_files import Row, in_texts, marked
from evaluation.sample.project_rows import APPS, Rows, foreign_keys, rows_of
from evaluation.sample.sample_project import PREFIX, SLUG
from training.core import kept_steps
from training.core.adapter_base import ABOUT, CONFIG, is_adapter
from training.models import Run

# Made anew from the other rows, or of this installation alone.
LEFT_OUT = {
    *("annotate.queueentry", "annotate.queuechange", "annotate.itempriority", "annotate.sidecount"),
    *("evaluation.votecounts", "evaluation.notice", "annotate.invitation", "annotate.webhook", "annotate.delivery"),
}
NO_FILES = {"lock", "identity", "completions.jsonl"}  # the answers are rows; the others are the worker's
NO_ENDINGS = (".npz", ".safetensors")
HEAD = "head.safetensors"  # a reward model's own weights, some kilobytes
ACCOUNT_ACTIONS = ("account.", "token.")  # of the audit: signing in here says nothing about the project


class NotExported(Exception):
    """The project cannot be made a fixture of: why, in words."""


def export(project: Project, folder: Path, *, ranks: Sequence[int]) -> Row:
    """Write the fixture of a project into `folder`; return its manifest. `ranks` are what its adapters are cut to, in
    the order of their runs; adapters beyond them are left out.

    Raises NotExported where a run has not ended well, or there is more than one base model.
    """
    rows, models = _rows(project)
    base = _base(models)
    text = _Texts(project, base, rows)
    shutil.rmtree(folder / "tables", ignore_errors=True)
    shutil.rmtree(folder / "adapters", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, int] = {}
    for label, table, objects in _tables(rows, models):
        written = [_cleaned(label, text.of(_row(table, one))) for one in objects if not _is_of_accounts(label, one)]
        if written:
            fixture_files.write_rows(label, written, folder)
            tables[label] = len(written)
    adapters = _adapters(models, text, folder, ranks)
    fixture_files.write_files(_files(rows, text), folder)
    last = max(rows[Run], key=lambda run: run.finished_at)
    found: Row = {
        "version": fixture_files.VERSION,
        "day": f"{last.finished_at:%Y-%m-%d}",
        "base": base.pk,
        "tables": tables,
        "adapters": adapters,
        "migrations": _migrations(),
        "code_version": last.code_version,
    }
    (folder / "manifest.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


class _Texts:
    """What becomes of the names in texts: of the project, its people, its runs' models, and of this installation."""

    def __init__(self, project: Project, base: LanguageModel, rows: Rows) -> None:
        self._data, self._base = str(settings.DATA_DIR), base.folder
        self._names = re.compile(rf"\b{re.escape(project.slug)}-(?=\w)")
        self._people = {
            name: f"{PREFIX}annotator-{name.rpartition('-')[2]}" if is_simulated else f"{PREFIX}{name}"
            for name, is_simulated in _people(rows).values_list("username", "is_simulated")
        }

    def of(self, row: Row) -> Row:
        return in_texts(row, self.text)

    def text(self, text: str) -> str:
        text = self._people.get(text, text)
        text = self._names.sub(PREFIX, text)
        return marked(text, data=self._data, base=self._base)


def _rows(project: Project) -> tuple[Rows, list[LanguageModel]]:
    rows = rows_of(project)
    unfinished = [run.name for run in rows[Run] if run.state != Run.State.SUCCEEDED]
    if unfinished:
        raise NotExported(f"These runs have not succeeded: {', '.join(unfinished)}. Finish the turn first.")
    ids: set[int] = set()
    for table, queryset in rows.items():
        for key in foreign_keys(table):
            if key.related_model is LanguageModel:
                ids.update(queryset.exclude(**{key.name: None}).values_list(key.attname, flat=True).distinct())
    models = {model.pk: model for model in LanguageModel.objects.filter(pk__in=ids)}
    while missing := {model.parent_id for model in models.values() if model.parent_id} - set(models):
        models |= {model.pk: model for model in LanguageModel.objects.filter(pk__in=missing)}
    return rows, [models[pk] for pk in sorted(models)]


def _base(models: list[LanguageModel]) -> LanguageModel:
    """Return the one model that no run made: the fixture names it and leaves its weights out."""
    bases = [model for model in models if model.stage == "base" and model.folder]
    if len(bases) != 1:
        raise NotExported(f"One base model with weights is wanted, not {', '.join(map(str, bases)) or 'none'}.")
    return bases[0]


def _people(rows: Rows) -> Any:
    people = Q(pk=None)
    for table, queryset in rows.items():
        for key in foreign_keys(table):
            if key.related_model is User:
                people |= Q(pk__in=queryset.exclude(**{key.name: None}).values(key.attname))
    return User.objects.filter(people).order_by("pk")


def _tables(rows: Rows, models: list[LanguageModel]) -> Iterator[tuple[str, type[Model], Any]]:
    yield "annotate.user", User, _people(rows)
    yield "annotate.languagemodel", LanguageModel, models
    for table, queryset in rows.items():
        if table._meta.label_lower not in LEFT_OUT:
            yield table._meta.label_lower, table, queryset


def _is_of_accounts(label: str, one: Any) -> bool:
    return label == "annotate.auditentry" and one.action.startswith(ACCOUNT_ACTIONS)


def _row(table: type[Model], one: Model) -> Row:
    """Return a row as JSON. Raises NotExported on a column of bytes, which no table of a project has but caches."""
    if any(isinstance(field, BinaryField) for field in table._meta.concrete_fields):
        raise NotExported(f"{table._meta.label} has a column of bytes: leave it out, or teach this to write it.")
    values = {field.attname: getattr(one, field.attname) for field in table._meta.concrete_fields}
    return json.loads(json.dumps(values, cls=_Encoder))


class _Encoder(DjangoJSONEncoder):
    """Keeps the microseconds of a moment."""

    def default(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else super().default(value)


def _cleaned(label: str, row: Row) -> Row:
    """Return the row without what is this installation's own: passwords, keys, names of machines."""
    row.pop("password", None)
    if label == "annotate.user":
        row |= {"is_staff": False, "is_superuser": False, "is_simulated": True, "email": "", "last_login": None}
        row |= {"shortcuts": {}, "tours_dismissed_at": None}
    if label == "annotate.project":
        row["slug"] = SLUG
    if label == "annotate.dataset" and row["name"] == "judgements":
        row["name"] = "annotations"
    if label == "training.attempt":
        row |= {"worker": SLUG, "handle": ""}
    if "idempotency_key" in row:
        row["idempotency_key"] = None
    return row


def _files(rows: Rows, text: _Texts) -> dict[str, bytes]:
    """Return what pages read of runs' folders, without weights and the copies of datasets, and the datasets' rows."""
    files: dict[str, bytes] = {}
    for run in rows[Run]:
        for path in sorted(path for path in run.path.rglob("*") if path.is_file()):
            inside = path.relative_to(run.path)
            if inside.parts[0] in ("data", "checkpoints", "dataset", kept_steps.FOLDER) or inside.name in NO_FILES:
                continue
            if inside.name.endswith(NO_ENDINGS) and inside.name != HEAD:
                continue
            if inside.name == "tokenizer.json" and is_adapter(path.parent):  # the base's own
                continue
            content = path.read_bytes()
            if inside.name != HEAD:
                content = text.text(content.decode()).encode()
            files[f"runs/{run.pk:06d}/{inside}"] = content
    for dataset in rows[Dataset]:
        for path in sorted(dataset.path.glob("*.jsonl")):
            files[f"datasets/{dataset.content_hash}/{path.name}"] = path.read_bytes()
    return files


def _adapters(models: list[LanguageModel], text: _Texts, folder: Path, ranks: Sequence[int]) -> Row:
    """Write the adapters of the base's children at smaller ranks; return what each lost, by its run."""
    lost: Row = {}
    made = [model for model in models if hasattr(model, "made_by")]  # of those kept on the way there are figures alone
    adapted = [model for model in made if model.path is not None and is_adapter(model.path)]
    for model, rank in zip(adapted, ranks, strict=False):
        run = Run.objects.get(output_model=model)
        target = folder / "adapters" / f"{run.pk:06d}"
        command = [sys.executable, "-m", "training.recipes.export.cut_adapter", str(model.path), str(target), str(rank)]
        child = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True)
        if child.returncode:
            raise NotExported(f"The adapter of {model} could not be cut: {child.stderr.strip()[-500:]}")
        lost[target.name] = json.loads(child.stdout.strip().splitlines()[-1])
        for name in (CONFIG, ABOUT):
            path = target / name
            written = text.text(path.read_text(encoding="utf-8"))
            path.write_text(written, encoding="utf-8")
    return lost


def _migrations() -> Row:
    applied = MigrationRecorder.Migration.objects.filter(app__in=APPS)
    names: Row = {}
    for app, name in applied.order_by("app", "name").values_list("app", "name"):
        names[app] = name
    return names
