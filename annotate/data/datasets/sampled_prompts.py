"""Name the prompts that models answer in bulk, and freeze them. What visitors asked in the arena is not put before
others: it may be private."""

from __future__ import annotations

from django.db.models import QuerySet

from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.data.datasets.freezing import freeze_once
from annotate.models import Dataset, DatasetFreeze, Project, Prompt, Split, User
from annotate.models.prompts import ARENA
from common.texts import first_free


def prompts_to_sample(project: Project, side: str) -> QuerySet[Prompt]:
    """Return the prompts of that split that are answered in bulk; like every dataset, none that is out of use."""
    return Prompt.objects.filter(project=project, side=side, out_since=None).exclude(source=ARENA)


def latest_complete(project: Project, side: str) -> Dataset | None:
    """Return the latest frozen prompts of that split when they are still these: all of them, and no others."""
    latest = Dataset.objects.filter(project=project, kind=Dataset.Kind.PROMPTS, side=side).first()
    if latest is None:
        return None
    wanted = set(prompts_to_sample(project, side).values_list("pk", flat=True))
    frozen = set(latest.prompts.values_list("pk", flat=True))
    return latest if frozen == wanted else None


def freeze_all(
    project: Project, side: str, *, name: str, by: User | None, waits: bool = False
) -> Dataset | DatasetFreeze:
    """Return them frozen under this name, where many are the order until the background worker has frozen them: whoever
    needs them calls again, unless somebody `waits`. Refused where there are none."""
    sources = prompts_to_sample(project, side).order_by().values_list("source", flat=True).distinct()
    kind = Dataset.Kind.PROMPTS
    act = freeze if waits else freeze_once
    return act(project=project, kind=kind, name=name, by=by, side=side, sources=list(sources))


def free_name(project: Project, stem: str) -> str:
    """Return the stem with the first number behind it that makes it a name of no dataset and of no order."""
    taken = set(project.datasets.filter(name__startswith=stem).values_list("name", flat=True))
    taken |= set(project.dataset_freezes.filter(name__startswith=stem).values_list("name", flat=True))
    return first_free(stem, taken.__contains__, "{} {}", is_numbered=True)


def complete_or_frozen(project: Project, side: str, by: User, field: str) -> Dataset | DatasetFreeze:
    """Return all prompts of a split, frozen: as they stand already, or anew under a new name. Refused, naming `field`,
    without any."""
    if latest := latest_complete(project, side):
        return latest
    if not prompts_to_sample(project, side).exists():
        purpose = "on which models meet" if side == Split.EVAL else "whose answers are annotated"
        raise Refused(409, **{field: f"{project.name} has no prompts in its {side} split, {purpose}; add some."})
    return freeze_all(project, side, name=free_name(project, f"{side} prompts"), by=by)
