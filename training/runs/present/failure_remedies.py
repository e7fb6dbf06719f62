"""Offer remedies on the page of a run that failed, one click away."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from training.models import Run
from training.runs.ordering import remedies
from training.storage import disk_usage, pruning

_DISK_FULL = "disk_full"
# Codes of recipes and of the preparation: something that the run starts from is not where it was.
_UNFIT_PARENT = (
    *("no_weights", "model_missing", "model_unreadable", "parent_not_finite"),
    *("tokenizer_mismatch", "tokenizer_does_not_fit", "no_chat_template"),
)
_UNFIT_DATASET = ("no_data", "too_few", "too_little", "no_prompts", "no_validation_text")


@dataclass(frozen=True)
class Remedy:
    """A button when it changes something, else a link; `prunes` has checkpoints deleted first."""

    label: str
    href: str
    is_post: bool = False
    prunes: bool = False


def remedies_of(run: Run) -> list[Remedy]:
    """Return the most direct first; empty when only a person knows what to do."""
    if run.state != Run.State.FAILED:
        return []
    if run.remedy_changes:
        address = reverse("queue-again", args=[run.pk])
        values = {f"config.{name}": value for name, value in run.remedy_changes.items()}
        return [
            Remedy(f"Queue again with {remedies.describe_changes(run.remedy_changes)}", address, is_post=True),
            Remedy("Open the form first", form(run, **values)),
        ]
    if run.reason_code == _DISK_FULL:
        return _for_room(run)
    field = "parent" if run.reason_code in _UNFIT_PARENT else "dataset"
    is_unfit = run.reason_code in _UNFIT_PARENT or run.reason_code.startswith(_UNFIT_DATASET)
    if is_unfit and getattr(run, field) is not None:
        return [Remedy(f"Queue again with another {field}", form(run, **{field: ""}))]
    return []


def form(run: Run, **changes: object) -> str:
    """Return the address of the form of a run like this one, with changes."""
    query = urlencode({"like": run.pk, **changes})
    return f"{reverse('new-run', args=[run.project.slug, run.kind])}?{query}"


def _for_room(run: Run) -> list[Remedy]:
    freed = sum(one.size for one in pruning.prune(dry_run=True, at_once=True, project=run.project))
    see = Remedy("See what lies on the disk", reverse("disk", args=[run.project.slug]))
    if not freed:
        return [see]
    label = f"Prune checkpoints of ended runs (frees {disk_usage.size_in_words(freed)}) and resume"
    return [Remedy(label, reverse("resume-run", args=[run.pk]), is_post=True, prunes=True), see]
