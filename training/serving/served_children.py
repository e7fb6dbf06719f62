"""Enter the children of runs among the adapters that are served hot, or say why one is not."""

from __future__ import annotations

import logging
from pathlib import Path

from django.db.models import Q

from annotate.core.artefacts import local_copies
from annotate.models import LanguageModel, ServedAdapter
from training.core import adapter_base
from training.models import Run

log = logging.getLogger("assay.serving")
MERGED = "The model has weights of its own and no adapter, so a server of its base cannot load it."
NO_BASE = "The model is an adapter, but no server of this site serves its base."
GONE = "The files of the model are not on this machine."


def child_of_a_run(run: Run) -> None:
    """Enter the policies that a run has made. For the hook of finished runs: reads two small files, asks no server."""
    kept = LanguageModel.objects.filter(kept_checkpoint__run=run)
    for model in filter(None, (run.output_model, *kept)):
        enter(model)


def enter_missing(most: int = 20) -> int:
    """Enter children that no signal reached, such as those of earlier versions, and anew those whose files have come
    since; return how many."""
    for row in ServedAdapter.objects.filter(state=ServedAdapter.State.COLD, problem__startswith=GONE).select_related(
        "model"
    ):
        if row.model.path is not None and row.model.path.is_dir():
            row.delete()
    made = Q(made_by__isnull=False) | Q(kept_checkpoint__isnull=False)
    missing = LanguageModel.objects.available().policies().filter(made, served_adapter__isnull=True)
    models = list(missing.exclude(folder="").order_by("-pk")[:most])
    for model in models:
        enter(model)
    return len(models)


def enter(model: LanguageModel) -> ServedAdapter | None:
    """Return the model's row, made if it had none; None for what is no policy with weights.

    One with an endpoint that somebody gave it is served there, and stays as it is."""
    if model.kind != LanguageModel.Kind.POLICY or not model.folder:
        return None
    base, problem = _base_and_problem(model)
    state = ServedAdapter.State.COLD if problem else ServedAdapter.State.WAITING
    if model.endpoint and not problem:
        state, problem = ServedAdapter.State.COLD, "The model has its own endpoint, which serves it."
    row, _ = ServedAdapter.objects.get_or_create(
        model=model, defaults={"base": base, "state": state, "problem": problem}
    )
    return row


def _base_and_problem(model: LanguageModel) -> tuple[LanguageModel | None, str]:
    path = model.path
    if path is None or not path.is_dir():
        return None, _gone(model)
    if not adapter_base.is_adapter(path):
        return None, MERGED
    try:
        folder = adapter_base.find_base(path)
    except (OSError, ValueError) as error:
        log.warning("The adapter of %s cannot be read: %s", model, error)
        return None, NO_BASE
    base = _model_in(folder, model) if folder else None
    return base, "" if base else NO_BASE


def _gone(model: LanguageModel) -> str:
    """Return what to do where the storage may have the files: a server reads the disk of its host."""
    if not local_copies.is_on():
        return GONE
    return f"{GONE} To bring them here and to its server's host: manage.py store_artefacts --bring {model.folder}"


def _model_in(folder: Path, child: LanguageModel) -> LanguageModel | None:
    """Return the policy whose weights are in the folder: an ancestor, else any of this site, the oldest."""
    wanted, seen, ancestor = folder.resolve(), {child.pk}, child.parent
    while ancestor is not None and ancestor.pk not in seen:
        if ancestor.path is not None and ancestor.path.resolve() == wanted:
            return ancestor
        seen.add(ancestor.pk)
        ancestor = ancestor.parent
    others = LanguageModel.objects.available().policies().filter(folder__endswith=wanted.name).order_by("pk")
    return next((other for other in others if other.path and other.path.resolve() == wanted), None)
