"""Name the prompts that models answer in bulk, and freeze them. What visitors asked in the arena is not put before
others: it may be private."""

from __future__ import annotations

from django.db.models import QuerySet

from annotate.data.datasets.actions import freeze
from annotate.models import Dataset, Project, Prompt, User
from annotate.models.prompts import ARENA


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


def freeze_all(project: Project, side: str, *, name: str, by: User | None) -> Dataset:
    """Freeze them anew. Refused where there are none, or the name is taken."""
    sources = prompts_to_sample(project, side).order_by().values_list("source", flat=True).distinct()
    return freeze(project=project, kind=Dataset.Kind.PROMPTS, name=name, by=by, side=side, sources=list(sources))
