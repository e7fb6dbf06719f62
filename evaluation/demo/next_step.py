"""Say on a project's page what is next while the demo works there by itself, and where it was cut short."""

from __future__ import annotations

from math import ceil

from django.urls import reverse
from django.utils import timezone

from annotate.models import Project
from annotate.projects.next_step import NextStep
from evaluation.demo import progress_file
from evaluation.demo.pipeline_runs import run_keys
from evaluation.demo.progress_file import DemoProgress
from training.models import Run


def of_project(project: Project) -> NextStep | None:
    """Return the demo's stage, its end and its run; None where no demo is under way in the project."""
    progress = progress_file.read(project.slug)
    if progress is None:
        return None
    stage = f"stage {progress.number} of {progress.of}, “{progress.title}”"
    runs = reverse("runs", args=[project.slug])
    if not progress.is_running:
        words = f"The demo was stopped in {stage}. Nothing is lost: start script/demo again, and it continues there."
        return NextStep(words, "Its runs", runs)
    words = f"Wait: the demo does the rest automatically. It is in {stage}, and should be done {_end(progress)}."
    end_states = (Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED)
    # A stored key begins with the account's number.
    run = Run.objects.filter(project=project, idempotency_key__contains=f":{run_keys(project)}").exclude(
        state__in=end_states
    )
    if now := run.order_by("id").last():
        return NextStep(words, f"Watch its run {now.name}", reverse("run", args=[now.pk]))
    return NextStep(words, "Its runs", runs)


def _end(progress: DemoProgress) -> str:
    minutes = ceil((progress.end - timezone.now()).total_seconds() / 60)
    if minutes < 1:
        return "any moment"
    return f"in about {minutes} minute{'' if minutes == 1 else 's'} ({progress.end:%H:%M} UTC)"
