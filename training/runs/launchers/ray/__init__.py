"""Run recipes as jobs of a Ray cluster, by its Jobs REST API at RAY_ADDRESS. Our queue and leases stay the truth: Ray
places an attempt, and never repeats one.

The recipe outlives its worker and is adopted by another one. What ends it is its own process on the node (`on_node`),
when no worker looks after it any more or a later attempt has begun. What passes between the two by files is in
`node_files`, and nowhere else. With ASSAY_STORAGE they share no file system: `storage_relay` passes it on. Without,
run directories, models and datasets lie on one that workers and nodes share under one path.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from annotate.core.artefacts import local_copies
from common.artefacts.file_systems import FileSystem
from training.core import endings
from training.core.run_directory import RecipeFailure, RunDirectory
from training.runs.launchers import Busy, Usage, confinement, multi_process, node_files
from training.runs.launchers.node_files import End, NodeFiles, Order
from training.runs.launchers.ray import jobs_api, room
from training.runs.launchers.ray.job import FollowedJob, Site
from training.runs.launchers.ray.jobs_api import BadRequest, JobsApi, Unreachable
from training.runs.launchers.ray.timing import Timing
from training.runs.launchers.recipe_bounds import GB
from training.runs.launchers.recipe_process import NO_SECRETS, NO_USAGE, Secrets
from training.runs.launchers.storage_relay.node_inputs import box_name
from training.runs.launchers.storage_relay.worker_relay import WorkerRelay

TAKES_SECRETS = True
OUTLIVES_WORKER = True
_MESSAGE_PATIENCE = 3.0  # seconds with a storage that does not answer, in one try
_AWAY = "the storage does not answer"
_OWN_PLACES = ("working_dir", "py_modules", "conda", "pip", "uv", "container", "image_uri")


@dataclass(frozen=True)
class _Beginning:
    attempt: int
    memory_bytes: int
    at: float  # of the monotonic clock, when its number was written


_beginnings: dict[Path, _Beginning] = {}
_jobs: dict[str, FollowedJob] = {}
_relays: dict[Path, WorkerRelay] = {}  # where workers and nodes share no file system
_renewed: set[str] = set()
_wakes = threading.Event()
_started = threading.Lock()


def begin(directory: Path, attempt: int, memory_bytes: int = 0) -> None:
    """Note which attempt is about to be submitted, and since when earlier ones are bidden to end."""
    before = _beginnings.get(directory)
    if before is None or before.attempt != attempt:
        _beginnings[directory] = _Beginning(attempt, memory_bytes, time.monotonic())
    _relay_to_nodes(directory, attempt)


def submit(directory: Path, module: str, secrets: Secrets = NO_SECRETS) -> str:
    beginning, site = _beginnings[directory], _site()
    processes, nodes = multi_process.processes_of(directory), multi_process.nodes_of(directory)
    _refuse_over_nodes(nodes, directory, secrets)
    submission_id = submission_id_of(directory, beginning.attempt)
    try:
        wanted = _wanted(site.api, processes, beginning.memory_bytes, nodes)
        files = NodeFiles(directory, beginning.attempt)
        files.write_order(_order(site.timing, directory, module, beginning.attempt, processes, bool(secrets)))
        files.beat(0)
        relay = _relay_to_nodes(directory, beginning.attempt)
        if relay is not None and not relay.hand_over_inputs():
            raise Busy(_AWAY if relay.is_away else "its inputs are being stored")
        site.api.submit(_body(directory, beginning.attempt, submission_id, wanted))
    except Unreachable as error:
        raise Busy(str(error)) from error
    except BadRequest as error:
        remedy = "Have the operator mend RAY_RUNTIME_ENV or RAY_RESOURCES, then resume."
        raise RecipeFailure("ray_refused", f"Ray refuses the job: {error}", remedy) from error
    _jobs[submission_id] = FollowedJob(site, directory, beginning.attempt, submission_id, wanted, secrets, relay=relay)
    _beat_in_background()
    return submission_id


def adopt(directory: Path, attempt: int, handle: str) -> None:
    """Follow what an earlier worker submitted, from its next heartbeat on."""
    relay = _relay_to_nodes(directory, attempt, is_adopted=True)
    _jobs[handle] = FollowedJob(_site(), directory, attempt, handle, relay=relay)
    _beat_in_background()
    renewed(handle)


def poll(handle: str) -> int | None:
    return _jobs[handle].poll()


def stop(handle: str, grace_seconds: float | None = None) -> None:
    """End the recipe and what it started. Ray ends a job within three seconds; the node is asked first, and gives the
    grace."""
    if job := _jobs.get(handle):
        job.stop(grace_seconds)


def forget(handle: str) -> None:
    """Follow a recipe no longer, and leave it as it is."""
    _jobs.pop(handle, None)
    _renewed.discard(handle)


def leave(directory: Path, *, is_over: bool) -> None:
    """Stop passing on what a node writes: another worker goes on, or the attempt is over."""
    if relay := _relays.pop(directory, None):
        relay.close(is_over=is_over)


def resumed_step(handle: str) -> int | None:
    """Return the step of the checkpoint that a recipe went on from, where its node alone knows."""
    job = _jobs.get(handle)
    return job.resumed_step if job else None


def logs(directory: Path) -> str:
    return endings.log_tail(directory / "log.txt", lines=200)


def usage(handle: str) -> Usage:
    job = _jobs.get(handle)
    return job.usage if job else NO_USAGE


def phase(handle: str) -> str:
    job = _jobs.get(handle)
    return job.phase if job else ""


def place(handle: str) -> str:
    job = _jobs.get(handle)
    return job.place if job else ""


def gpus_of(handle: str) -> float:
    """Return how many GPUs the job holds; 0 until it has begun on a node, and of an adopted one."""
    job = _jobs.get(handle)
    return job.gpus if job else 0


def is_full() -> bool:
    """Return whether as many jobs of ours wait for room in the cluster as may."""
    return sum(job.waits_for_room for job in list(_jobs.values())) >= settings.RAY_WAITING_RUNS


def renewed(handle: str) -> None:
    """Have the next heartbeat written: by a thread of its own, for the file system may hang and the leases must not."""
    _renewed.add(handle)
    _wakes.set()


def end_leftovers(directory: Path) -> None:
    """Have earlier attempts ended. Raises Busy until Ray says that they are, or their heartbeat has surely run out."""
    beginning, site = _beginnings[directory], _site()
    since, relay = beginning.at, _relays.get(directory)
    if relay is not None:
        if relay.begun_at is None:
            raise Busy(_AWAY if relay.is_away else "earlier attempts are being asked to end")
        since = max(since, relay.begun_at)
    waited = time.monotonic() - since
    for attempt in node_files.attempts_sent(directory):
        if attempt < beginning.attempt and not _is_over(site, directory, attempt, waited):
            raise Busy(f"attempt {attempt} may still be ending on the cluster")


def submission_id_of(directory: Path, attempt: int) -> str:
    """Return the name of an attempt's job, the same whoever asks: submitting twice is one job.

    It begins with this installation's own mark, for several may share a cluster."""
    shared = settings.STORAGE if local_copies.is_on() else settings.RUNS_DIR
    mark = hashlib.sha256(f"{settings.SECRET_KEY} {shared}".encode()).hexdigest()[:8]
    return f"assay-{mark}-run-{int(directory.name)}-attempt-{attempt}"


def _is_over(site: Site, directory: Path, attempt: int, waited: float) -> bool:
    """Return whether nothing of an earlier attempt can work any more: by its node's word, because Ray knows that it
    never began, or by the clock. Ray's word of an end is not enough: of a node that it lost, it knows nothing."""
    files = NodeFiles(directory, attempt)
    if files.end() is not None:
        return True
    if waited > site.timing.surely_over:
        files.write_end(End(attempt, -signal.SIGKILL, "its heartbeat has run out"))  # the next one need not wait again
        return True
    submission_id = submission_id_of(directory, attempt)
    try:
        job = site.api.job(submission_id)
        if job is not None and job.status not in jobs_api.ENDED:
            site.api.stop(submission_id)
    except Unreachable:
        return False
    # What waits for room reads the later number before it begins.
    return (
        job is not None
        and files.report() is None
        and job.status != jobs_api.RUNNING
        and (job.status in (jobs_api.PENDING, jobs_api.STOPPED) or job.exit_code is not None)
    )


def _refuse_over_nodes(nodes: int, directory: Path, secrets: Secrets) -> None:
    """Refuse a run over several nodes that needs keys, or whose kind needs a folder that they share. Raises
    RecipeFailure."""
    if nodes == 1:
        return
    kind, lack = RunDirectory(directory).spec().kind, ""
    if secrets:
        lack = "cannot ask endpoints with keys"
    elif local_copies.is_on() and kind not in multi_process.KINDS_WITHOUT_SHARING:
        lack = f"of kind {kind} needs a folder that all nodes share, not ASSAY_STORAGE"
    if lack:
        remedy = "Queue it again with nodes 1."
        raise RecipeFailure("over_nodes", f"A run over several nodes {lack}.", remedy, {"nodes": 1})


def _wanted(api: JobsApi, processes: int, memory_bytes: int, nodes: int) -> room.Wanted:
    per_process = settings.RAY_GPUS_PER_PROCESS
    if per_process is None:
        per_process = 1 if room.has_gpus(api.nodes()) else 0
    return room.Wanted(
        cpus=processes // nodes * settings.RAY_CPUS_PER_PROCESS,
        gpus=processes // nodes * per_process,
        memory_bytes=int(memory_bytes * settings.RAY_MEMORY_FACTOR) // nodes,
        resources=settings.RAY_RESOURCES,
        nodes=nodes,
    )


def _order(timing: Timing, directory: Path, module: str, attempt: int, processes: int, needs_secrets: bool) -> Order:
    return Order(
        attempt=attempt,
        module=module,
        patience_seconds=timing.patience,
        orphan_grace_seconds=timing.orphan_grace,
        processes=processes,
        threads=max(1, int(settings.RAY_CPUS_PER_PROCESS)),
        needs_secrets=needs_secrets,
        variables=sorted(confinement.wanted_variables(directory)),
        memory_bytes=int(settings.RECIPE_MEMORY_GB * GB),
        file_gb=settings.RECIPE_FILE_GB,
        most_processes=settings.RECIPE_PROCESSES,
    )


def _body(directory: Path, attempt: int, submission_id: str, wanted: room.Wanted) -> dict[str, object]:
    """Return the job as Ray takes it. Everybody who reaches the dashboard reads it: it names no secret."""
    runtime_env = settings.RAY_RUNTIME_ENV
    has_own = any(name in runtime_env for name in _OWN_PLACES)
    folder = settings.RAY_CHECKOUT or ("" if has_own else str(settings.BASE_DIR))
    python = settings.RAY_PYTHON or ("python" if has_own else sys.executable)
    place = ["--storage", settings.STORAGE, "--box", box_name(directory)] if local_copies.is_on() else [str(directory)]
    words = ["training.runs.launchers.on_node", *place, str(attempt)]
    if wanted.nodes > 1:
        about = wanted.place | {"folder": folder, "python": python if has_own else ""}
        words = ["training.runs.launchers.over_nodes.placed", *place, str(attempt), json.dumps(about)]
    line = shlex.join([python, "-m", *words])
    return {
        "submission_id": submission_id,
        "entrypoint": f"cd {shlex.quote(folder)} && exec {line}" if folder else f"exec {line}",
        "runtime_env": runtime_env,
        "metadata": {"run": directory.name, "attempt": str(attempt)},
        **wanted.request,
    }


def _relay_to_nodes(directory: Path, attempt: int, *, is_adopted: bool = False) -> WorkerRelay | None:
    """Return the relay of an attempt, begun where there is none; None where nodes share the directory."""
    if not local_copies.is_on():
        return None
    relay = _relays.get(directory)
    if relay is None or relay.attempt != attempt:
        leave(directory, is_over=False)
        relay = _relays[directory] = WorkerRelay(
            local_copies.store(),
            FileSystem(settings.STORAGE, patience=_MESSAGE_PATIENCE),
            box_name(directory),
            directory,
            attempt,
            min(2.0, settings.RUN_LEASE_SECONDS / 15),
            is_adopted=is_adopted,
        )
    return relay


def _site() -> Site:
    return Site(
        _api(settings.RAY_ADDRESS, settings.RAY_AUTH_TOKEN),
        Timing(settings.RUN_LEASE_SECONDS),
        settings.RAY_NODE_WAIT_SECONDS,
    )


@cache
def _api(address: str, token: str) -> JobsApi:
    return JobsApi(address, token)


def _beat_in_background() -> None:
    """Start the thread that writes heartbeats, once in a process."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_write_heartbeats, name="heartbeats", daemon=True).start()


def _write_heartbeats() -> None:
    while True:
        _wakes.wait()
        _wakes.clear()
        for handle in list(_renewed):
            _renewed.discard(handle)
            if job := _jobs.get(handle):
                job.beat()
                if relay := _relays.get(job.directory):
                    relay.wake()
