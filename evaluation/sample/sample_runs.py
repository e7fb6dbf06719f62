"""Put the sample project's files in their places, and say of its models what was left out of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from django.conf import settings

from annotate.models import LanguageModel, Project
from common import atomic_files
from evaluation.sample.fixture_files import Row, read_files
from evaluation.sample.row_references import Ids, translate_file
from training.core.adapter_base import ABOUT, CONFIG, is_adapter
from training.core.folder_hash import folder_hash
from training.models import Run

TOKENIZER = "tokenizer.json"
BINARY = ".safetensors"
CUT = "{}; its adapter is reduced to rank {} for the sample project; the figures are of the full adapter"
LEFT_OUT = "{}; the sample project has its figures and answers but not its weights, so it gives no new answers"


def write_runs(folder: Path, ids: Ids, here: Callable[[str], str], base: str) -> None:
    """Write the files of runs and datasets, and the adapters. `here` fills the marks of a text, `base` is the base
    model's folder below ASSAY_DATA."""
    runs = ids["training.run"]
    for name, content in read_files(folder).items():
        top, number, *rest = name.split("/")
        if top == "runs":
            path = Run(pk=runs[int(number)]).path.joinpath(*rest)
            if not name.endswith(BINARY):
                content = here(translate_file(name, content, ids).decode()).encode()
        else:
            path = settings.DATASETS_DIR / number / Path(*rest)
        if path.exists():  # of a dataset, whose folder is named by what it holds
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for adapter in sorted((folder / "adapters").iterdir()):
        _put_adapter(adapter, Run(pk=runs[int(adapter.name)]).path / "model", settings.DATA_DIR / base)


def remove_runs(numbers: Iterable[int]) -> None:
    for number in numbers:
        shutil.rmtree(Run(pk=number).path, ignore_errors=True)


def complete_adapters(project: Project) -> int:
    """Copy the base's tokenizer into adapters that have none yet, once the base's weights are there; return how many
    models can answer now that could not before."""
    completed = 0
    for model in LanguageModel.objects.made_in(project).select_related("parent"):
        if model.path is None or not is_adapter(model.path) or (model.path / TOKENIZER).exists():
            continue
        base = _base_folder(model.path)
        if (base / TOKENIZER).is_file():
            with atomic_files.replacing(model.path / TOKENIZER) as partial:
                shutil.copyfile(base / TOKENIZER, partial)
            completed += 1
    return completed


def describe_models(found: Row, ids: Ids) -> None:
    """Say in each model's origin what became of its weights."""
    for old, run_id in ids["training.run"].items():
        run = Run.objects.select_related("output_model").get(pk=run_id)
        for kept in LanguageModel.objects.filter(kept_checkpoint__run=run):
            _leave_out(kept)
            kept.save(update_fields=["folder", "origin"])
        model, cut = run.output_model, found["adapters"].get(f"{old:06d}")
        if model is None:
            continue
        if cut is not None:
            model.content_hash = cut["hash"]
            model.origin = CUT.format(model.origin, cut["rank"])
        elif model.kind == LanguageModel.Kind.POLICY:
            _leave_out(model)
        elif model.kind == LanguageModel.Kind.REWARD and model.path is not None:  # its head, without its trunk
            model.content_hash = folder_hash(model.path)
        model.save(update_fields=["folder", "origin", "content_hash"])


def _leave_out(model: LanguageModel) -> None:
    model.folder, model.origin = "", LEFT_OUT.format(model.origin)


def _put_adapter(adapter: Path, model: Path, base: Path) -> None:
    model.mkdir(parents=True, exist_ok=True)
    for path in sorted(adapter.iterdir()):
        if path.name == CONFIG:
            config = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": str(base)}
            (model / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(path, model / path.name)
    about = json.loads((model / ABOUT).read_text(encoding="utf-8"))
    about |= {"folder": os.path.relpath(base, model), "was": str(base)}
    (model / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _base_folder(model: Path) -> Path:
    about = json.loads((model / ABOUT).read_text(encoding="utf-8"))
    return (model / about["folder"]).resolve()
