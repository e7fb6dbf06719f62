"""Claim runs, lease them, and write only under the lease: the queue's whole correctness.

A run under way has one attempt in state *running*. Whoever holds that attempt's lease may write to the run; each
write checks it inside its own transaction. A worker that was cut off finds its lease gone and writes nothing.
Leases are given and run out by the database's clock, whatever the workers' own say.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core.db.connections import database_now
from training.core.endings import OUT_OF_MEMORY, Ending
from training.models import Attempt, Run
from training.runs.ordering import remedies, turns
from training.runs.ordering.end_events import announce_end, tell_finished
from training.storage import quotas


class LeaseLost(Exception):
    """Raised when somebody else carries this run now; whoever gets this writes nothing more and stops the recipe."""


def claim(*, worker: str, launcher: str) -> Attempt | None:
    """Return the queued run whose turn it is, as a new attempt of this worker; None when none may begin.

    Atomic: on Postgres a row that somebody else is claiming is skipped; on SQLite BEGIN IMMEDIATE admits one claimer.
    """
    projects = turns.projects_in_turn()
    full = quotas.full_projects() if projects else {}
    projects = [project for project in projects if project not in full]
    while projects:
        with transaction.atomic():
            run = turns.next_runs(projects, database_now()).select_for_update(skip_locked=True).first()
            if run is None:
                return None
            if quotas.has_room(run.project_id):
                return _begin(run, worker, launcher)
        projects.remove(run.project_id)  # another worker has begun its last one meanwhile
    return None


def _begin(run: Run, worker: str, launcher: str) -> Attempt:
    """Turn a run that this transaction holds to running, by a new attempt."""
    now = database_now()
    attempt = Attempt.objects.create(
        run=run,
        number=run.attempts.count() + 1,
        lease_expires_at=now + _lease(),
        worker=worker,
        launcher=launcher,
    )
    run.state, run.phase, run.ends_at = Run.State.RUNNING, "starting", None
    run.started_at = run.started_at or now
    run.save(update_fields=["state", "phase", "ends_at", "started_at"])
    return attempt


def leased(attempt: Attempt) -> QuerySet[Attempt]:
    """Return the attempt's row while its lease is ours, else none."""
    return Attempt.objects.filter(pk=attempt.pk, lease=attempt.lease, state=Attempt.State.RUNNING)


def renew(attempt: Attempt) -> bool:
    """Renew the lease; return False when it is no longer ours."""
    return leased(attempt).update(lease_expires_at=database_now() + _lease()) == 1


def require_lease(attempt: Attempt) -> None:
    """Raise LeaseLost when the lease is no longer ours."""
    if not leased(attempt).exists():
        raise LeaseLost(f"Another worker has taken {attempt}.")


@contextmanager
def holding(attempt: Attempt) -> Iterator[Run]:
    """Open a transaction in which nobody can take the lease. Raises LeaseLost, and writes nothing, when it is gone."""
    with transaction.atomic():
        if leased(attempt).select_for_update().first() is None:
            raise LeaseLost(f"Another worker has taken {attempt}.")
        yield Run.objects.get(pk=attempt.run_id)


def conclude(attempt: Attempt, ending: Ending, record: Callable[[Run], None] | None = None) -> Run:
    """End an attempt as `ending` says, and its run with it or back into the queue; `record` writes the outputs.

    One transaction under the lease: either the outputs and the end are there, or neither.
    """
    with holding(attempt) as run:
        if record is not None:
            record(run)
        return _end(run, attempt, ending)


def orphans(*, is_gone: Callable[[str], bool], own_attempts: Collection[int] = ()) -> list[Attempt]:
    """Return running attempts of workers whose lease expired, or that `is_gone` knows to be dead.

    Not the asking worker's `own_attempts`: after this machine slept, they only wait to be renewed.
    """
    return _lost_among(_running_elsewhere(own_attempts), is_gone)


def _running_elsewhere(own_attempts: Collection[int]) -> list[Attempt]:
    running = Attempt.objects.filter(state=Attempt.State.RUNNING)
    return list(running.exclude(pk__in=own_attempts).select_related("run"))


def _lost_among(running: Sequence[Attempt], is_gone: Callable[[str], bool]) -> list[Attempt]:
    now = database_now() if running else None
    return [one for one in running if now and (one.lease_expires_at < now or is_gone(one.worker))]


def release_lost(
    *,
    is_gone: Callable[[str], bool],
    own_attempts: Collection[int] = (),
    is_spared: Callable[[Attempt], bool] = lambda _: False,
) -> bool:
    """Take running attempts from workers whose lease expired, or that `is_gone` knows to be dead. Return whether others
    than the asking worker have running attempts.

    What `is_spared` waits for one lease more, for a worker that adopts it: its recipe goes on meanwhile.
    """
    running = _running_elsewhere(own_attempts)
    lost = _lost_among(running, is_gone)
    now = database_now() if lost else None
    for attempt in lost:
        if now and is_spared(attempt) and attempt.lease_expires_at + _lease() > now:
            continue
        if now and attempt.lease_expires_at < now:
            _release(attempt, "the worker lost its connection and did not renew its lease")
        else:
            _release(attempt, "the worker was lost")
    return bool(running)


def take_over(attempt: Attempt, worker: str) -> bool:
    """Make this attempt, of a worker that is gone, that worker's; False when somebody else was first."""
    seen = leased(attempt).filter(lease_expires_at=attempt.lease_expires_at)
    lease, expires_at = uuid.uuid4(), database_now() + _lease()
    if seen.update(lease=lease, lease_expires_at=expires_at, worker=worker) != 1:
        return False
    attempt.lease, attempt.lease_expires_at, attempt.worker = lease, expires_at, worker
    return True


def hand_over(attempt: Attempt) -> None:
    """Let the lease run out now, so that another worker may adopt the attempt. Raises LeaseLost."""
    with holding(attempt):
        Attempt.objects.filter(pk=attempt.pk).update(lease_expires_at=database_now())


def _release(attempt: Attempt, reason: str) -> None:
    with transaction.atomic():
        leased = Attempt.objects.select_for_update(skip_locked=True).filter(
            pk=attempt.pk, state=Attempt.State.RUNNING, lease_expires_at=attempt.lease_expires_at
        )
        if leased.first() is not None:  # else its worker renewed it meanwhile, or another worker releases it now
            _end(Run.objects.get(pk=attempt.run_id), attempt, Ending.lost(reason))


def _end(run: Run, attempt: Attempt, ending: Ending) -> Run:
    now = timezone.now()
    # As it is now, and stays until the end of this transaction: somebody may have cancelled it since it was read.
    row = Run.objects.select_for_update().filter(pk=run.pk)
    run.cancel_requested_at = row.values_list("cancel_requested_at", flat=True).get()
    if ending.state == Attempt.State.LOST:
        ending = _after_a_loss(run, attempt, ending)
    if ending.state == Attempt.State.PAUSED and run.cancel_requested_at:
        ending = Ending.cancelled(ending.exit_code)  # asked for in the moment in which it paused by itself
    attempt.state, attempt.reason, attempt.exit_code = ending.state, ending.reason, ending.exit_code
    attempt.ended_at = now
    attempt.save(update_fields=["state", "reason", "exit_code", "ended_at"])
    run.phase, run.ends_at = "", None
    if ending.retry:
        run.state = Run.State.QUEUED
    else:
        is_paused = ending.state == Attempt.State.PAUSED
        run.state, run.finished_at = Run.State(ending.state), None if is_paused else now
        run.pause = ending.pause
        run.reason_code, run.reason, run.remedy = ending.code, ending.reason, ending.remedy
        run.remedy_changes = ending.remedy_changes or remedies.changes_for(ending.code, run.kind, run.config)
        if not is_paused:
            announce_end(run)
            transaction.on_commit(lambda: tell_finished(run))
    # By name: a cancel that was asked for meanwhile must not be overwritten.
    run.save(
        update_fields=[
            "state", "phase", "ends_at", "finished_at", "reason_code", "reason", "remedy",
            "remedy_changes", "pause", "output_model", "output_dataset", "result", "step", "total_steps",
        ]
    )  # fmt: skip
    return run


def _after_a_loss(run: Run, attempt: Attempt, ending: Ending) -> Ending:
    """Try again, unless somebody cancelled it meanwhile or it was lost too often from the same checkpoint.

    An attempt that reached another checkpoint has made progress: a machine that is restarted every night must not
    end a long run.
    """
    if run.cancel_requested_at:
        return Ending.cancelled()
    losses = 1
    for earlier in run.attempts.filter(number__lt=attempt.number).order_by("-number"):
        if earlier.state != Attempt.State.LOST or earlier.resumed_from_step != attempt.resumed_from_step:
            break
        losses += 1
    patience = settings.RUN_MAX_ATTEMPTS
    if ending.code == OUT_OF_MEMORY:  # once may be the fault of others on the machine
        patience = min(2, patience)
    return ending if losses < patience else Ending.given_up(ending, losses)


def _lease() -> timedelta:
    return timedelta(seconds=settings.RUN_LEASE_SECONDS)
