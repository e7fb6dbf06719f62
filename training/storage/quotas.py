"""Hold projects to their quotas: runs at work at once, GPU hours in 30 days, and disk space.

The operator sets them for all projects (`ASSAY_QUOTA_RUNS`, `ASSAY_QUOTA_GPU_HOURS`, `ASSAY_QUOTA_DISK_GB`), and staff
for one project in the administration. A run beyond the first waits; beyond the others it is refused when it is ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import Project
from training.models import Attempt, Quota, Run
from training.storage import disk_usage

GPU_DAYS = 30
_REFUSED = ("gpu_hours", "disk_gb")  # the fields under which a run is refused
_REMEDY = "have staff of this installation raise the quota."


@dataclass(frozen=True)
class Limits:
    """Hold what a project may use at most; None for no limit."""

    runs: int | None
    gpu_hours: float | None
    disk_gb: float | None


def limits_of(project_id: int) -> Limits:
    """Return the project's own limits, and where it has none those of the installation."""
    return _limits(Quota.objects.filter(project=project_id).first())


def full_projects() -> dict[int, tuple[int, int]]:
    """Return the projects that have as many runs at work as they may: (those at work, the quota) by project."""
    running = Run.objects.filter(state=Run.State.RUNNING).order_by().values_list("project").annotate(n=Count("pk"))
    counts = dict(running)
    own = {quota.project_id: quota for quota in Quota.objects.filter(project__in=counts)} if counts else {}
    limits = {project: _limits(own.get(project)).runs for project in counts}
    return {
        project: (n, limit) for project, n in counts.items() if (limit := limits[project]) is not None and n >= limit
    }


def is_used_up(refused: Refused) -> bool:
    """Return whether it is a quota that is used up, so that the same order may be taken later."""
    return any(name in refused.errors for name in _REFUSED)


def has_room(project_id: int) -> bool:
    """Return whether one more run of the project may begin. Within a transaction nobody else may begin one meanwhile,
    where there is a quota."""
    if (limit := limits_of(project_id).runs) is None:
        return True
    Project(pk=project_id).lock()
    return Run.objects.filter(project=project_id, state=Run.State.RUNNING).count() < limit


def gpu_hours(project: Project) -> float:
    """Return what the attempts of the project's runs have held of GPUs in the last 30 days, in hours of one GPU."""
    now = timezone.now()
    since = now - timedelta(days=GPU_DAYS)
    attempts = Attempt.objects.filter(Q(ended_at=None) | Q(ended_at__gt=since), run__project=project, gpus__gt=0)
    spans = [
        (count, (end or now) - max(begin, since))
        for count, begin, end in attempts.values_list("gpus", "gpus_since", "ended_at")
        if begin is not None
    ]
    return sum(count * max(span, timedelta()) / timedelta(hours=1) for count, span in spans)


@dataclass(frozen=True)
class QuotaUse:
    """Hold what a project uses of a quota, in words."""

    name: str
    figure: str


def use_of(project: Project, stored: disk_usage.Stored | None = None) -> list[QuotaUse]:
    """Return what the project uses of each quota that it has; `stored` is what the storage has, if it was listed."""
    limits, uses = limits_of(project.pk), []
    if limits.runs is not None:
        at_work = project.runs.filter(state=Run.State.RUNNING).count()
        uses.append(QuotaUse("Runs at work", f"{at_work} of {limits.runs}"))
    if limits.gpu_hours is not None:
        figure = f"{gpu_hours(project):.1f} of {limits.gpu_hours:g} in {GPU_DAYS} days"
        uses.append(QuotaUse("GPU hours", figure))
    if limits.disk_gb is not None:
        size = disk_usage.size_of_project(project, stored) / 1e9
        uses.append(QuotaUse("Disk space", f"{size:.1f} of {limits.disk_gb:g} GB"))
    return uses


def check(project: Project) -> None:
    """Check that another run may be ordered. Raises Refused with `gpu_hours`, `disk_gb` or both."""
    limits, errors = limits_of(project.pk), {}
    if limits.gpu_hours is not None and (used := gpu_hours(project)) >= limits.gpu_hours:
        errors["gpu_hours"] = (
            f"{project.name} has used {used:.1f} of its {limits.gpu_hours:g} GPU hours of the last {GPU_DAYS} days. "
            f"Wait until earlier runs are older, or {_REMEDY}"
        )
    if limits.disk_gb is not None and (size := disk_usage.size_of_project(project) / 1e9) >= limits.disk_gb:
        errors["disk_gb"] = (
            f"Runs and models of {project.name} take {size:.1f} of its {limits.disk_gb:g} GB. "
            f"Delete checkpoints under Disk use, or {_REMEDY}"
        )
    if errors:
        raise Refused(409, **errors)


def _limits(own: Quota | None) -> Limits:
    def limit(name: str, default: float | None) -> float | None:
        value = getattr(own, name, None)
        return (default if value is None else value) or None  # 0: no limit

    runs = limit("runs", settings.QUOTA_RUNS)
    return Limits(
        None if runs is None else max(1, int(runs)),
        limit("gpu_hours", settings.QUOTA_GPU_HOURS),
        limit("disk_gb", settings.QUOTA_DISK_GB),
    )
