"""One attempt on a Ray cluster, as its worker sees it: by what the node writes, and by what Ray says where that is
silent.

The node's word counts: an exit status in `end-3.json` is how the recipe ended, and while its reports come it is well,
whether the head of the cluster lives or not. Ray is asked when there is no report: before the recipe has begun, and
after its node fell silent.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.core.parent_watchdog import GRACE_SECONDS
from training.core.run_directory import RecipeFailure
from training.runs.launchers import Lost, NotStarted, Usage, sealed_secrets
from training.runs.launchers.node_files import PLACING, STORING, WAITING, End, NodeFiles, Report
from training.runs.launchers.on_node import NO_STORAGE, purpose
from training.runs.launchers.ray import jobs_api, room
from training.runs.launchers.ray.jobs_api import ClusterNode, Job, JobsApi, Unreachable
from training.runs.launchers.ray.timing import Timing
from training.runs.launchers.recipe_process import NO_SECRETS, Secrets
from training.runs.launchers.storage_relay.worker_relay import WorkerRelay

_ASK_SECONDS = 1.0  # between questions to the cluster about one job
_LOOK_SECONDS = 5.0  # between looks at the cluster's nodes
_LATE_SECONDS = 2.0  # that the node's last file may come after Ray's word
_STOP_SECONDS = 8.0  # beyond the grace, until a stop returns
_FULL_SECONDS = 3.0  # of waiting for free resources, after which the cluster counts as full
_WORDS = 300
_PHASES = {WAITING: "starting on its node", STORING: "storing what it leaves"}
# Ends of a job that are its own, and would come again; all others are the cluster's.
_OWN_ERRORS = ("RUNTIME_ENV_SETUP_FAILURE", "JOB_ENTRYPOINT_COMMAND_ERROR", "JOB_ENTRYPOINT_COMMAND_START_ERROR")
_NEVER_PLACED = ("JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE")


@dataclass(frozen=True)
class Site:
    """What all jobs of a worker share."""

    api: JobsApi
    timing: Timing
    node_wait: float  # seconds until a run that no node can hold fails


class FollowedJob:
    """Follow one submission. `wanted` is None for one that an earlier worker submitted."""

    def __init__(
        self, site: Site, directory: Path, attempt: int, submission_id: str, wanted: room.Wanted | None = None,
        secrets: Secrets = NO_SECRETS, clock: Callable[[], float] = time.monotonic, relay: WorkerRelay | None = None,
    ) -> None:  # fmt: skip
        self.site, self.directory, self.submission_id = site, directory, submission_id
        self.files = NodeFiles(directory, attempt)
        self.phase, self.place, self.usage = "", "", Usage(0.0, 0)
        self._wanted, self._secrets, self._clock, self._relay = wanted, secrets, clock, relay
        self._report: Report | None = None
        self._code: int | None = None
        self._is_given_up = False
        now = clock()
        self._heard_at = self._asked_at = self._looked_at = now
        self._misfit_since: float | None = None
        self._pending_since: float | None = None
        self._ended_at: float | None = None
        self._grace: float | None = None
        current = self.files.heartbeat()
        self._counter = current.counter if current else 0
        self._writing = threading.Lock()

    @property
    def is_over(self) -> bool:
        return self._code is not None or self._is_given_up

    @property
    def gpus(self) -> float:
        """Return what it asked for, of all its nodes, once they have room."""
        if self._wanted is None or self._report is None or self._report.state == PLACING:
            return 0
        return self._wanted.gpus * self._wanted.nodes

    @property
    def resumed_step(self) -> int | None:
        return self._report.resumed_step if self._report else None

    @property
    def waits_for_room(self) -> bool:
        since = self._pending_since
        return since is not None and not self.is_over and self._clock() - since > _FULL_SECONDS

    def beat(self) -> None:
        """Write the next heartbeat."""
        with self._writing, contextlib.suppress(OSError):
            self._counter += 1
            self.files.beat(self._counter, self._grace)

    def poll(self) -> int | None:
        """Return the exit status, None while the recipe works or waits. Raises Lost, NotStarted or RecipeFailure."""
        if self._code is None and (end := self.files.end()):
            self._note_end(end)
        if self._code is not None:
            return self._code
        self._note_report(self.files.report())
        if self._report is not None and self._clock() - self._heard_at <= self.site.timing.silence:
            if self._report.state == PLACING:
                self._look_for_room()
                return None
            self.phase = _PHASES.get(self._report.state, "")
            self._pending_since = None
            self._find_place()
            return None
        if self._is_cut_off():
            return None
        if self._clock() - self._asked_at < _ASK_SECONDS and self._ended_at is None:
            return None
        self._asked_at = self._clock()
        return self._poll_cluster()

    def _is_cut_off(self) -> bool:
        """Return whether nothing can be heard because this worker reaches no storage: no silence of the node's. One
        that is to end is given up all the same."""
        if self._relay is None or not self._relay.is_away or self._grace is not None:
            return False
        self.phase, self._heard_at, self._ended_at = (
            "waiting for the storage, which does not answer",
            self._clock(),
            None,
        )
        return True

    def stop(self, grace_seconds: float | None) -> None:
        """End the recipe within its grace. Returns when it is over, or, where nobody can tell, after some seconds."""
        if self.is_over:
            return
        is_again = self._grace is not None
        self._note_report(self.files.report())
        self._grace = GRACE_SECONDS if grace_seconds is None else grace_seconds
        self.beat()
        if self._relay is not None:
            self._relay.wake()
        until = self._clock() + (1.0 if is_again else self._grace + _STOP_SECONDS)
        if self._report is not None and not is_again and self._ends_before(self._clock() + self._grace + 2.0):
            return
        try:
            self.site.api.stop(self.submission_id)
        except Unreachable:  # the heartbeat says it, too
            until = min(until, self._clock() + 2.0)
        self._ends_before(until)

    def _ends_before(self, until: float) -> bool:
        """Wait until the recipe is over, or for so long; return whether it is."""
        while self._clock() < until:
            if end := self.files.end():
                self._note_end(end)
                return True
            if self._report is None and self._is_at_rest():
                self._code = -signal.SIGTERM
                return True
            time.sleep(0.2)
        return False

    def _is_at_rest(self) -> bool:
        """Return whether the cluster knows that nothing was started, or that it was stopped."""
        self._report = self.files.report()
        if self._report is not None:
            return False
        try:
            job = self.site.api.job(self.submission_id)
        except Unreachable:
            return False
        # One that waits for room cannot be stopped; when it begins, it reads that it is to end.
        return job is None or job.status in (jobs_api.PENDING, jobs_api.STOPPED)

    def _note_end(self, end: End) -> None:
        self._code, self.phase = end.exit_code, ""
        self.usage = Usage(end.cpu_seconds, end.memory_bytes, end.starved_bytes)

    def _note_report(self, report: Report | None) -> None:
        if report is None:
            return
        if self._report is None or report.counter != self._report.counter:
            self._heard_at = self._clock()
        self._report = report
        self.usage = Usage(report.cpu_seconds, report.memory_bytes)
        self.place = self.place or report.host
        if report.public_key and self._secrets:
            sealed = sealed_secrets.seal(self._secrets, report.public_key, purpose(self.directory, self.files.attempt))
            self._secrets = NO_SECRETS  # once: a second key in that place would be somebody else's
            self.files.write_sealed(sealed)

    def _find_place(self) -> None:
        """Name the node by Ray's name, too: several may share a host."""
        if not self.place or "(" in self.place or self._clock() - self._looked_at < _ASK_SECONDS:
            return
        self._looked_at = self._clock()
        with contextlib.suppress(Unreachable):
            job = self.site.api.job(self.submission_id)
            if job is not None and job.node_id:
                self.place = f"{self.place} (Ray node {job.node_id[:8]})"

    def _poll_cluster(self) -> int | None:
        try:
            job = self.site.api.job(self.submission_id)
        except Unreachable as error:
            self.phase = str(error)
            self._give_up_after_silence(str(error))
            return None
        if job is None:
            raise self._given_up("the cluster no longer knows the job: its head node was restarted")
        if job.status == jobs_api.PENDING:
            self._look_for_room()
            return None
        self._pending_since = None
        if job.status == jobs_api.RUNNING:
            self.phase = "its node does not respond" if self._report else "starting on its node"
            self._give_up_after_silence("its node fell silent")
            return None
        if self._ended_at is None:  # the node's own word may be on its way
            self._ended_at = self._clock()
        if self._clock() - self._ended_at < _LATE_SECONDS:
            return None
        return self._ended_without_words(job)

    def _ended_without_words(self, job: Job) -> int:
        """Return or raise what the end of a job means whose process left none."""
        words = (job.message.strip().splitlines() or ["no reason is given"])[-1][:_WORDS]
        if job.status == jobs_api.STOPPED:
            self._code = -signal.SIGTERM
            return self._code
        is_killed = job.exit_code is not None and (job.exit_code < 0 or job.exit_code > 128)
        if job.exit_code == NO_STORAGE and self._report is None:
            self._is_given_up = True
            raise Lost(f"its node does not reach the storage ({words})")
        if self._report is None and job.error_type in _OWN_ERRORS and not is_killed:
            self._is_given_up = True
            raise RecipeFailure(
                "ray_job",
                f"Ray could not start the run: {words}",
                "Have the operator look at the job in Ray's dashboard, and at RAY_RUNTIME_ENV, RAY_CHECKOUT and "
                "RAY_PYTHON; then resume.",
            )
        if self._report is None and job.error_type in _NEVER_PLACED:
            raise self._given_up(words)
        self._is_given_up = True
        raise Lost(f"its node or its Ray was lost ({words})")

    def _give_up_after_silence(self, why: str) -> None:
        if self._clock() - self._heard_at > self.site.timing.surely_over:
            raise self._given_up(why)

    def _given_up(self, why: str) -> Lost | NotStarted:
        """Return what to raise: work is lost only where some was begun."""
        self._is_given_up = True
        return NotStarted(why) if self._report is None else Lost(why)

    def _look_for_room(self) -> None:
        """Say what it waits for. Raises RecipeFailure when no node can ever hold it."""
        self._heard_at = self._clock()  # Ray answers: the job is not silent, it waits
        self._pending_since = self._pending_since or self._clock()
        if self._wanted is None:  # adopted: the worker that knew is gone
            self.phase = "waiting for free resources"
            return
        if self.phase and self._clock() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = self._clock()
        try:
            nodes = self.site.api.nodes()
        except Unreachable as error:
            self.phase = str(error)
            return
        if self._wanted.fits_in(nodes):
            self.phase, self._misfit_since = f"waiting for free resources: it asks for {self._wanted.text}", None
            return
        self._misfit_since = self._misfit_since or self._clock()
        self.phase = f"no node has enough resources: it asks for {self._wanted.text}"
        if self._clock() - self._misfit_since >= self.site.node_wait:
            self._fail_for_want_of_room(self._wanted, nodes)

    def _fail_for_want_of_room(self, wanted: room.Wanted, nodes: Sequence[ClusterNode]) -> None:
        self._is_given_up = True
        self._grace = 0.0
        self.beat()
        with contextlib.suppress(Unreachable):
            self.site.api.stop(self.submission_id)
        raise RecipeFailure(
            "no_node",
            f"No node of the cluster can hold the run. {room.misfit(wanted, nodes)}",
            "Queue it again with fewer processes or nodes or a smaller batch, or have the operator add a larger node "
            "or lower RAY_CPUS_PER_PROCESS, RAY_GPUS_PER_PROCESS or RAY_MEMORY_FACTOR; then resume.",
        )
