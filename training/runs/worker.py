"""The worker: claims runs, has a launcher carry them out, follows them and records how they end.

One loop does everything; a second thread does nothing but renew the leases, so that a slow disk or a slow
launcher costs no lease; a third asks nobody, and ends a recipe whose lease was not renewed. Knows no torch.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from functools import partial
from importlib import import_module
from types import ModuleType

from django.conf import settings
from django.db import Error, close_old_connections, connection, connections
from django.db.backends.signals import connection_created

from annotate.core.db.data_state import DataWatch, data_state
from common.artefacts.storage_problems import Unreachable
from training.core.endings import LAST_WORDS, LOST, SUCCEEDED, Ending, explain
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.figures import progress
from training.runs.human_review import reviews as human_review
from training.runs.launchers import Busy, Lost, NotStarted, module_named
from training.runs.ordering.machine_speed import IdleMeasurement
from training.runs.present import run_estimates
from training.runs.queue import (
    announcements,
    asked_models,
    cluster_launches,
    drains,
    outputs,
    preparation,
    run_transfers,
    supervision,
    worker_names,
)
from training.runs.queue.ingest import Reader
from training.runs.queue.supervised_runs import End, Supervised, about_its_run, log_fields
from training.runs.queue.supervision import LeaseLost
from training.runs.queue.worker_database import AWAY, bound_statements, close_broken_connection
from training.runs.queue.worker_errors import describe_error
from training.storage import pruning, stored_runs

log = logging.getLogger("assay.worker")

_PATIENCE_SECONDS = _HEARING_SECONDS = 2.0
_LATE = 0.7  # of a lease without renewal, after which the recipe is ended; the rest is for its grace


class Worker:
    def __init__(self, *, name: str = "", concurrency: int = 1, tick_seconds: float = 0.5) -> None:
        self.identity = worker_names.identity(name)
        self.launcher: ModuleType = import_module(module_named(settings.RUN_LAUNCHER))
        self.is_remote = cluster_launches.is_remote(self.launcher)
        self.concurrency, self.tick_seconds = concurrency, tick_seconds
        self.supervised: list[Supervised] = []
        self._measurement, self._watch = IdleMeasurement(), DataWatch()
        self._ending = threading.Event()

    def end(self) -> None:
        """Ask the worker to end: it stops its recipes and gives their runs back to the queue."""
        self._ending.set()

    def work(self, *, once: bool = False) -> None:
        """Work until `end` is called, or with `once` until there is nothing queued and nothing under way here."""
        settings.RUNS_DIR.mkdir(parents=True, exist_ok=True)
        connection_created.connect(bound_statements, dispatch_uid="worker.statements")
        heart = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        heart.start()
        threading.Thread(target=self._watch_leases, name="watchdog", daemon=True).start()
        try:
            while not self._ending.is_set():
                try:
                    is_idle = self._tick()
                    self._measurement.note(is_idle=is_idle and not cluster_launches.outlives(self.launcher))
                except AWAY as error:
                    log.warning("The database does not answer; trying again: %s", error)
                    self._ending.wait(_PATIENCE_SECONDS)
                    continue
                if once and is_idle:
                    return
                self._ending.wait(self.tick_seconds)
        finally:
            self._end_all()
            self._ending.set()
            heart.join()
            connection_created.disconnect(dispatch_uid="worker.statements")

    def _tick(self) -> bool:
        """Do one round. Return True when there is nothing to do."""
        close_broken_connection()
        supervised = list(self.supervised)
        state = None if supervised else data_state()
        if not supervised and self._watch.may_rest(state):
            return True
        # First, and without fail: a recipe whose lease is gone must end while the database is away.
        for one in supervised:
            self._follow_safely(one)
        drain = drains.drain_of(self.identity)
        if drain is not None and drain.gives_back and self.supervised:
            log.info("drained: %s runs go back into the queue", len(self.supervised))
            self._end_all()
        attempt_ids = [one.attempt.pk for one in self.supervised]
        if drain is None:
            self._adopt(attempt_ids)
        others_run = supervision.release_lost(
            is_gone=worker_names.is_gone, own_attempts=attempt_ids, is_spared=cluster_launches.may_be_adopted
        )
        pruning.prune_daily()
        human_review.wake_waiting()
        while drain is None and len(self.supervised) < self.concurrency and not cluster_launches.is_full(self.launcher):
            attempt = supervision.claim(worker=self.identity, launcher=settings.RUN_LAUNCHER)
            if attempt is None:
                break
            log.info("claimed %s", attempt, extra=log_fields(attempt.run))
            self.supervised.append(Supervised(attempt, attempt.run))
            self._follow_safely(self.supervised[-1])  # it begins in this round, not in the next
        is_idle = not supervised and not self.supervised
        if is_idle and not others_run:  # whose worker may die without a word to the database
            self._watch.note_nothing(state)
        return is_idle

    @about_its_run
    def _follow_safely(self, one: Supervised) -> None:
        """Follow one run; whatever goes wrong ends this run and no other."""
        try:
            try:
                self._follow(one)
            except (LeaseLost, *AWAY):
                raise
            except (Lost, NotStarted) as end:
                self._conclude(one, cluster_launches.ending_of(end))
            except Exception as error:  # the worker's edge
                log.exception("run %s failed", one.run.pk)
                self._stop(one)
                self._conclude(one, describe_error(error))
        except LeaseLost as lost:
            log.warning("%s", lost)
            self._drop(one)
        except AWAY as error:
            log.warning("The database does not answer; trying again: %s", error)

    def _follow(self, one: Supervised) -> None:
        if one.is_lost:
            raise LeaseLost(f"The lease of {one.attempt} is gone.")
        if one.end is not None:
            self._conclude_when_stored(one, one.end)
            return
        is_cancelled = Run.objects.filter(pk=one.run.pk, cancel_requested_at__isnull=False).exists()
        if not one.handle and is_cancelled:
            self._conclude(one, Ending.cancelled())
            return
        if not one.handle:
            self._launch(one)
            return
        if not one.is_recorded:
            self._record_launch(one)
        if is_cancelled:
            self._stop(one)
        exit_code = self.launcher.poll(one.handle)
        assert one.reader is not None
        one.phase = cluster_launches.note_words(self.launcher, one.attempt, one.handle, one.phase)
        cluster_launches.note_gpus(self.launcher, one.attempt, one.handle)
        if one.reader.ingest():
            announcements.announce(one.run.pk)
        cluster_launches.note_resumed(self.launcher, one.attempt, one.handle)
        one.transfers.note_checkpoint(one.reader.directory, is_remote=self.is_remote)
        self._hear_people(one, is_last=exit_code is not None)
        one.note_usage(self.launcher.usage(one.handle), is_last=exit_code is not None)
        if exit_code is not None:
            ending = self._ending_of(one, exit_code)
            # Whoever cancels in the last moment of a run that ended well gets its result.
            self._end(one, Ending.cancelled(exit_code) if is_cancelled and ending.state != SUCCEEDED else ending)

    def _ending_of(self, one: Supervised, exit_code: int) -> Ending:
        assert one.reader is not None
        ending, memory_bytes = explain(exit_code, one.reader.directory), one.attempt.memory_bytes
        is_killed = ending.state == LOST and exit_code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if is_killed and (held := self.launcher.usage(one.handle).starved_bytes):
            return Ending.starved(progress.gigabytes(memory_bytes), progress.gigabytes(held), exit_code)
        is_here = not cluster_launches.outlives(self.launcher)
        if is_killed and is_here and one.memory.was_for_want_of_memory(memory_bytes):
            return Ending.starved(progress.gigabytes(memory_bytes), progress.gigabytes(one.memory.limit), exit_code)
        return ending

    def _launch(self, one: Supervised) -> None:
        with supervision.holding(one.attempt):  # the lease first: what follows changes the directory
            pass
        try:
            cluster_launches.begin(self.launcher, one.attempt, lambda: run_estimates.memory_of(one.run))
            if one.attempt.number > 1:
                self.launcher.end_leftovers(one.run.path)
            if not self._are_inputs_here(one):
                return
            directory = preparation.prepare(one.run, is_remote=self.is_remote)
            one.attempt.resumed_from_step = None if self.is_remote else directory.kept_step()
            if one.is_lost:  # laying the directory took long, and the database was away meanwhile
                raise LeaseLost(f"The lease of {one.attempt} is gone.")
            one.handle = asked_models.submit(self.launcher, one.run, directory)
        except (Busy, Unreachable) as busy:
            with supervision.holding(one.attempt):
                Run.objects.filter(pk=one.run.pk).update(phase=f"waiting: {busy}"[:80])
            return
        one.reader = Reader(one.attempt, directory)
        self._record_launch(one)

    def _record_launch(self, one: Supervised) -> None:
        """Record that a recipe was launched. Tried again at the next tick when the database is away: the recipe works
        already."""
        with supervision.holding(one.attempt):
            one.attempt.handle = one.handle
            one.attempt.save(update_fields=["handle", "resumed_from_step"])
        one.is_recorded = True
        announcements.announce(one.run.pk)

    def _stop(self, one: Supervised) -> None:
        if one.handle:
            self.launcher.stop(one.handle)

    def _are_inputs_here(self, one: Supervised) -> bool:
        are_here = one.transfers.are_inputs_here(is_remote=self.is_remote)
        one.waits_for = run_transfers.write_words(one.run, one.transfers.words, one.waits_for)
        return are_here

    def _end(self, one: Supervised, ending: Ending) -> None:
        """End an attempt whose recipe has ended: its outputs first, then its row."""
        is_kept = ending.state == SUCCEEDED and one.reader is not None
        one.end = End(ending, cluster_launches.gather(self.launcher, one.attempt) if is_kept else None)
        self._conclude_when_stored(one, one.end)

    def _conclude_when_stored(self, one: Supervised, end: End) -> None:
        if one.transfers.are_outputs_stored(end.ending, end.outputs, is_remote=self.is_remote):
            self._conclude(one, end.ending, end.outputs)
        else:
            one.waits_for = run_transfers.write_words(one.run, one.transfers.words, one.waits_for)

    def _conclude(self, one: Supervised, ending: Ending, made: outputs.Outputs | None = None) -> None:
        record = None if made is None else partial(outputs.record, outputs=made)
        run = supervision.conclude(one.attempt, ending, record)
        reason, fields = ending.reason.split(LAST_WORDS)[0], {"ending": ending.state, "reason_code": ending.code}
        log.info("%s: %s %s", one.attempt, ending.state, reason, extra=fields)
        announcements.announce(run.pk)
        self._drop(one, is_over=True)
        if record is not None:
            shutil.rmtree(run.path / "checkpoints", ignore_errors=True)  # the model stands; they may weigh gigabytes
            RunDirectory(run.path).remove_needed_on_the_way()  # a recipe that was killed after its result leaves it
            stored_runs.drop_checkpoints(run)

    def _end_all(self) -> None:
        """End every recipe with its grace, all at the same time; then their runs go back into the queue. Recipes that
        outlive their worker are left to the next one."""
        left = [one for one in list(self.supervised) if not self._hand_over(one)]
        stopping = [threading.Thread(target=self._stop, args=(one,)) for one in left]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        for one in left:
            self._give_back(one)

    def _adopt(self, own_attempts: list[int]) -> None:
        """Follow recipes that work on a cluster, and whose worker is gone."""
        while len(self.supervised) < self.concurrency:
            adopted = cluster_launches.adopt(self.launcher, self.identity, own_attempts, worker_names.is_gone)
            if not adopted:
                return
            for attempt in adopted:
                log.info("adopted %s", attempt)
                own_attempts.append(attempt.pk)
                reader = Reader(attempt, RunDirectory(attempt.run.path))
                self.supervised.append(Supervised(attempt, attempt.run, reader, attempt.handle, is_recorded=True))

    def _hand_over(self, one: Supervised) -> bool:
        """Leave a recipe to the next worker as it is; return whether it can be left."""
        if not one.handle or not cluster_launches.outlives(self.launcher):
            return False
        try:
            if not one.is_recorded:
                self._record_launch(one)
            supervision.hand_over(one.attempt)
        except (LeaseLost, *AWAY) as error:
            log.warning("%s was not handed over; it is adopted when its lease has run out: %s", one.attempt, error)
        self._drop(one)
        return True

    def _give_back(self, one: Supervised) -> None:
        """End the recipe, because the worker ends; the run waits in the queue for the next worker."""
        self._stop(one)
        try:
            if one.reader is not None:
                one.reader.ingest()
            supervision.conclude(one.attempt, Ending.shut_down())
        except (LeaseLost, *AWAY) as error:
            log.warning("%s was not given back and will be taken over: %s", one.attempt, error)
        self._drop(one)

    def _drop(self, one: Supervised, *, is_over: bool = False) -> None:
        self.supervised.remove(one)
        cluster_launches.leave(self.launcher, one.attempt, is_over=is_over)
        if one.handle and not cluster_launches.outlives(self.launcher):
            self.launcher.stop(one.handle)
        if one.handle:
            self.launcher.forget(one.handle)

    def _hear_people(self, one: Supervised, *, is_last: bool) -> None:
        """Take pairs for annotators out of the recipe's hands, and hand verdicts into them: every few seconds is soon
        enough."""
        now = time.monotonic()
        if is_last or now > one.heard_at + _HEARING_SECONDS:
            assert one.reader is not None
            one.heard_at = now
            human_review.follow(one.attempt, one.reader.directory)

    def _keep_leases(self) -> None:
        interval = min(5.0, settings.RUN_LEASE_SECONDS / 4)
        while not self._ending.wait(interval):
            close_old_connections()
            for one in list(self.supervised):
                asked_at = time.monotonic()  # the lease counts from when it was asked for, not from the answer
                try:
                    if supervision.renew(one.attempt):
                        one.renewed_at = asked_at
                        cluster_launches.renew(self.launcher, one.handle)
                    elif one in self.supervised:
                        one.is_lost = True
                except Error as error:  # of any kind: this thread must outlive it, as the recipes do
                    log.warning("The lease of %s could not be renewed: %s", one.attempt, error)
                    # On a cluster it goes on while this worker lives: a later attempt's number would end it.
                    cluster_launches.renew(self.launcher, one.handle)
        connections.close_all()  # this thread's own

    def _watch_leases(self) -> None:
        """End each recipe whose lease runs out soon and was not renewed: before somebody else may begin its run.

        It asks the database nothing, for the other threads may hang in a question to it. From SQLite nobody is cut off:
        there one only waits for a long write of another process, and nobody can claim meanwhile.
        On a cluster the recipe's own process ends it, when the next attempt begins or no worker lives.
        """
        if connection.vendor == "sqlite" or cluster_launches.outlives(self.launcher):
            return
        lease = settings.RUN_LEASE_SECONDS
        while not self._ending.wait(min(1.0, lease / 20)):
            for one in list(self.supervised):
                if not one.is_lost and time.monotonic() - one.renewed_at > lease * _LATE:
                    one.is_lost = True
                    log.error("The lease of %s could not be renewed: its recipe is ended.", one.attempt)
                if one.is_lost and one.handle and one.ending is None:  # perhaps started only after its lease was lost
                    one.ending = threading.Thread(
                        target=self.launcher.stop, args=(one.handle, lease * (1 - _LATE) / 2), daemon=True
                    )
                    one.ending.start()  # each in a thread: one's grace is not taken from the next one's time
