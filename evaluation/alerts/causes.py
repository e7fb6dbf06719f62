"""Find the causes of alerts in all projects: in runs, queues, annotators' figures, votes and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Exists, F, Max, OuterRef, QuerySet
from django.urls import reverse
from django.utils import timezone

from annotate.core.db.connections import database_now
from annotate.models import (
    AnnotatorKind,
    Assignment,
    Comparison,
    Project,
    QueueEntry,
    Ranking,
    Rating,
    Span,
    VoteTrace,
    Webhook,
)
from annotate.projects.overview.loop_stations import waiting
from evaluation.alerts import alert_kinds
from evaluation.annotator_quality import explanations
from evaluation.annotator_quality.findings import AnnotatorFigures, findings
from evaluation.core.absent_models import Lack, in_words
from evaluation.core.kept_figures import BeingComputed
from evaluation.experiments import experiment_progress, experiment_words
from evaluation.models import Alert, Experiment, RoundSeries
from evaluation.rounds import round_progress, round_words
from evaluation.vote_integrity import held_votes
from training.core.kinds import kind_title
from training.models import Attempt, Drain, Run
from training.runs.present.project_overview import FAILED_DAYS

QUIET = timedelta(days=2)  # so long nobody has annotated; a weekend is no alert
DORMANT = timedelta(days=30)  # after so long the work is over, and no alert
ACTIVE = timedelta(days=7)  # annotators of projects where somebody annotated since then are looked at


@dataclass(frozen=True)
class Cause:
    """Hold one cause of an alert. `about` tells it from others of its kind in the project; `owner` is whose it is.

    `signs` say what is wrong without numbers: a dismissed alert is opened again for a new one; without any, for another
    text."""

    project: Project
    about: str
    text: str
    url: str
    owner: int | None = None
    signs: tuple[str, ...] = ()


def failed_runs() -> Iterator[Cause]:
    """Yield runs that failed in the last days, but for those that somebody queued again."""
    since = timezone.now() - timedelta(days=FAILED_DAYS)
    for run in _runs(Run.State.FAILED).filter(finished_at__gte=since, clones=None):
        yield _of_run(run, "failed.", run.reason_without_log)


def paused_runs() -> Iterator[Cause]:
    for run in _runs(Run.State.PAUSED):
        yield _of_run(run, "is paused and waits for a decision.", run.pause.get("message", ""))


def unattended_runs() -> Iterator[Cause]:
    """Yield projects whose runs wait while no worker is alive: one would renew the lease of a run, or claim one."""
    if Attempt.objects.filter(state=Attempt.State.RUNNING, lease_expires_at__gt=database_now()).exists():
        return
    is_drained = Drain.objects.exists()
    idle = "no worker is alive: start `manage.py run_worker`."
    why = "the worker is drained for maintenance." if is_drained else idle
    signs = ("drained" if is_drained else "no worker",)
    waiting_runs = Run.objects.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING]).order_by()
    counts = dict(waiting_runs.values_list("project").annotate(n=Count("id")))
    for project in Project.objects.filter(pk__in=counts):
        n = counts[project.pk]
        text = f"{n:,} run{' waits' if n == 1 else 's wait'}, and {why}"
        yield Cause(project, "worker", text, reverse("runs", args=[project.slug]), signs=signs)


def idle_queues() -> Iterator[Cause]:
    """Yield projects where prompts wait and people have annotated before, but nobody of late."""
    now = timezone.now()
    with_room = QueueEntry.objects.filter(level__lt=F("project__overlap")).values("project")
    work = Assignment.objects.filter(
        project__in=with_room, state=Assignment.State.SUBMITTED, user__is_simulated=False, closed_at__gt=now - DORMANT
    )
    newest = work.order_by().values("project").annotate(newest=Max("closed_at")).filter(newest__lte=now - QUIET)
    last_at = dict(newest.values_list("project", "newest"))
    for project in Project.objects.filter(pk__in=last_at):
        if left := waiting(project):
            text = f"{left.words} Nobody has annotated since {last_at[project.pk]:%-d %B}."
            yield Cause(project, "queue", text, left.address, signs=("idle",))


def flagged_annotators() -> Iterator[Cause]:
    """Yield flagged people of projects where somebody annotated of late, and of those that have such an alert.

    Where the figures are still being computed, what is known stands until they are there.
    """
    since = timezone.now() - ACTIVE
    warned = Alert.objects.filter(kind=alert_kinds.ANNOTATOR_FLAGGED.key, closed_at=None)
    projects = set(warned.values_list("project", flat=True))
    for table in (Comparison, Rating, Ranking, Span):
        recent = table.objects.filter(created_at__gte=since, judge=AnnotatorKind.PERSON).order_by()
        projects.update(recent.values_list("project", flat=True).distinct())
    for project in Project.objects.filter(pk__in=projects):
        try:
            judges = findings(project, AnnotatorKind.PERSON).judges
        except BeingComputed:
            yield from (_as_known(alert, project) for alert in warned.filter(project=project))
            continue
        yield from (_of_annotator(project, figures) for figures in judges if figures.is_flagged)


def projects_with_held_votes() -> Iterator[Cause]:
    with_votes = VoteTrace.objects.filter(project=OuterRef("pk"))  # asked of each project, not of each vote
    for project in Project.objects.filter(Exists(with_votes)):
        waiting_votes = held_votes.waiting(project)
        if n := sum(count for _, _, count in waiting_votes):
            signs = tuple(sorted(reason for reason, _, count in waiting_votes if count))
            text = f"{n:,} arena vote{' is' if n == 1 else 's are'} held for review."
            yield Cause(project, "votes", text, reverse("held-votes", args=[project.slug]), signs=signs)


def switched_off_webhooks() -> Iterator[Cause]:
    """Yield webhooks that were switched off since they failed, and not by a person."""
    for webhook in Webhook.objects.filter(is_active=False, failing_since__isnull=False).select_related("project"):
        text = f"A webhook was switched off and gets no events. {webhook.switched_off_reason} {webhook.url}"
        address = reverse("webhook", args=[webhook.project.slug, webhook.pk])
        yield Cause(webhook.project, str(webhook.pk), text, address)


def missing_votes() -> Iterator[Cause]:
    """Yield rounds and experiments whose models are not in the arena, or whose comparisons nobody is asked for."""
    for series in RoundSeries.objects.filter(state=RoundSeries.State.RUNNING).select_related("project"):
        one = round_progress.current(series)
        if one is not None and (lacks := round_words.what_is_missing(series, one)):
            address = reverse("round-series", args=[series.project.slug, series.pk])
            text = in_words(lacks, f"{series.name}, round {one.number}, waits.")
            owner, signs = series.created_by_id, _signs(lacks)
            yield Cause(series.project, f"rounds {series.pk}", text, address, owner, signs)
    for experiment in Experiment.objects.filter(state=Experiment.State.VOTING).select_related("project"):
        if lacks := experiment_words.what_is_missing(experiment, experiment_progress.members(experiment)):
            address = reverse("experiment", args=[experiment.project.slug, experiment.pk])
            text = in_words(lacks, f"Experiment {experiment.name} waits for votes.")
            owner, signs = experiment.created_by_id, _signs(lacks)
            yield Cause(experiment.project, f"experiment {experiment.pk}", text, address, owner, signs)


def _signs(lacks: Iterable[Lack]) -> tuple[str, ...]:
    return tuple(sign for lack in lacks for sign in lack.signs)


FINDERS: dict[str, Callable[[], Iterator[Cause]]] = {
    alert_kinds.RUN_FAILED.key: failed_runs,
    alert_kinds.RUN_PAUSED.key: paused_runs,
    alert_kinds.RUN_WAITS.key: unattended_runs,
    alert_kinds.QUEUE_IDLE.key: idle_queues,
    alert_kinds.ANNOTATOR_FLAGGED.key: flagged_annotators,
    alert_kinds.VOTES_HELD.key: projects_with_held_votes,
    alert_kinds.VOTES_MISSING.key: missing_votes,
    alert_kinds.WEBHOOK_OFF.key: switched_off_webhooks,
}


def _runs(state: str) -> QuerySet[Run]:
    return Run.objects.filter(state=state).select_related("project")


def _of_run(run: Run, words: str, reason: str) -> Cause:
    text = " ".join(f"{kind_title(run)} {run.name} {words} {reason}".split())
    return Cause(run.project, str(run.pk), text, reverse("run", args=[run.pk]), run.created_by_id)


def _of_annotator(project: Project, figures: AnnotatorFigures) -> Cause:
    user, source, name = figures.judge
    reasons = sorted(explanations.reasons(figures))  # whichever is the strongest now: only other ones are told anew
    text = f"{figures.name} is flagged: {', '.join(reasons)}."
    page = reverse("quality-annotator", args=[project.slug, user]) if user else reverse("quality", args=[project.slug])
    return Cause(project, str(user) if user else f"{source}: {name}", text, page, signs=tuple(reasons))


def _as_known(alert: Alert, project: Project) -> Cause:
    return Cause(project, alert.about, alert.text, alert.url, signs=tuple(alert.signs or ()))
