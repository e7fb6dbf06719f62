"""The launcher `ray` against a strict stand-in of the dashboard: what it submits, and every way not to be answered."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.urls import reverse

from config import ray_settings
from tests.support.factories import make_user, sign_in
from tests.support.training.ray_stand_in import NODE, Dashboard, Trouble, dashboard
from tests.support.training.runs import make_run
from training.core.endings import Ending
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.models import Attempt
from training.runs.launchers import Busy, Lost, NotStarted, cluster_checks, ray
from training.runs.launchers.node_files import PLACING, RUNNING, End, Heartbeat, NodeFiles, Report
from training.runs.launchers.ray import jobs_api
from training.runs.launchers.ray.job import FollowedJob
from training.runs.launchers.ray.room import Wanted

MODULE = "tests.support.training.sleeper"
KEY = "sk-secret-of-a-laboratory"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stand_in(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setattr(jobs_api, "_REST_SECONDS", 0.0)
    settings.RUN_LAUNCHER, settings.RUN_LEASE_SECONDS = "ray", 2.0
    with dashboard() as made:
        settings.RAY_ADDRESS = settings.RAY_DASHBOARD_URL = made.url
        yield made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "000007"
    folder.mkdir()
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


def submitted(directory: Path, attempt: int = 1, **options: Any) -> str:
    ray.begin(directory, attempt)
    return ray.submit(directory, MODULE, **options)


def followed(directory: Path, clock: Clock, wanted: Wanted | None = None) -> FollowedJob:
    """A job that was submitted, on a clock that the test moves."""
    return FollowedJob(ray._site(), directory, 1, submitted(directory), wanted or Wanted(1), clock=clock)


def reported(job: FollowedJob, counter: int = 1, state: str = RUNNING) -> None:
    job.files.write_report(Report(1, counter, state, "gpu-3", cpu_seconds=5.0, memory_bytes=2_000_000))


def later(job: FollowedJob, clock: Clock, seconds: float) -> int | None:
    clock.now += seconds
    return job.poll()


def test_a_job_asks_for_what_the_run_takes_and_names_no_secret(stand_in: Dashboard, directory: Path, settings) -> None:
    settings.RAY_CPUS_PER_PROCESS, settings.RAY_GPUS_PER_PROCESS = 4.0, 1.0
    settings.RAY_RESOURCES, settings.RAY_MEMORY_FACTOR = {"training": 1.0}, 0.5
    settings.RAY_RUNTIME_ENV = {"env_vars": {"OUR_LICENCES": "27000@here"}}
    ray.begin(directory, 3, 8_000_000_000)
    handle = ray.submit(directory, MODULE, {"parent": ("https://models.example/v1", KEY)})
    job = stand_in.jobs[handle]
    assert handle.startswith("assay-") and handle.endswith("-run-7-attempt-3")
    assert job["entrypoint"].startswith(f"cd {settings.BASE_DIR} && exec ")
    assert job["entrypoint"].endswith(f" -m training.runs.launchers.on_node {directory} 3")
    assert (job["entrypoint_num_cpus"], job["entrypoint_num_gpus"], job["entrypoint_memory"]) == (4, 1, 4_000_000_000)
    assert job["entrypoint_resources"] == {"training": 1.0} and job["metadata"] == {"run": "000007", "attempt": "3"}
    assert KEY not in json.dumps(stand_in.jobs)
    written = [path.read_text() for path in directory.rglob("*") if path.is_file()]
    assert written and all(KEY not in text for text in written)


@pytest.mark.parametrize(("nodes", "gpus"), [([NODE], None), ([{**NODE, "resources_total": {"CPU": 8, "GPU": 4}}], 1)])
def test_gpus_are_asked_for_where_the_cluster_has_some(stand_in: Dashboard, directory: Path, nodes, gpus) -> None:
    stand_in.nodes = nodes
    assert stand_in.jobs[submitted(directory)].get("entrypoint_num_gpus") == gpus


@pytest.mark.parametrize(
    ("secrets", "storage", "lack"),
    [
        ({}, "s3://bucket/site", "of kind dpo needs a folder that all nodes share, not ASSAY_STORAGE"),
        ({"parent": ("https://models.example/v1", KEY)}, "", "cannot ask endpoints with keys"),
    ],
)
def test_a_run_over_nodes_that_cannot_be_is_refused(directory, settings, secrets, storage: str, lack: str) -> None:
    settings.STORAGE = storage
    RunDirectory(directory).create(RunSpec("dpo", {}))
    with pytest.raises(RecipeFailure, match=f"^A run over several nodes {lack}") as refused:
        ray._refuse_over_nodes(2, directory, secrets)
    assert refused.value.remedy == "Queue it again with nodes 1." and KEY not in refused.value.message
    ray._refuse_over_nodes(1, directory, secrets)


@pytest.mark.parametrize(("kind", "storage"), [("dpo", ""), ("sft", "s3://bucket/site")])
def test_a_run_over_nodes_that_can_be_is_not_refused(directory, settings, kind: str, storage: str) -> None:
    settings.STORAGE = storage
    RunDirectory(directory).create(RunSpec(kind, {}))
    ray._refuse_over_nodes(2, directory, {})


def test_code_of_a_runtime_environment_is_where_ray_puts_it(stand_in: Dashboard, directory: Path, settings) -> None:
    settings.RAY_RUNTIME_ENV = {"working_dir": "https://example.org/assay.zip"}
    assert stand_in.jobs[submitted(directory)]["entrypoint"].startswith(
        "exec python -m training.runs.launchers.on_node "
    )


def test_submitting_twice_is_one_job(stand_in: Dashboard, directory: Path) -> None:
    first = submitted(directory)
    ray.forget(first)  # another worker, or this one after a restart
    assert submitted(directory) == first and len(stand_in.jobs) == 1


def test_a_job_whose_submission_was_answered_by_nobody_is_found_again(stand_in, directory: Path, settings) -> None:
    settings.RAY_GPUS_PER_PROCESS = 0.0
    stand_in.trouble = Trouble(502, "Bad Gateway", after=True)
    with pytest.raises(Busy, match="answers 502"):
        submitted(directory)
    stand_in.trouble = None
    [taken] = stand_in.jobs
    assert submitted(directory) == taken and list(stand_in.jobs) == [taken]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble(500, "Traceback …\nNo available agent to submit job"), "answers 500: No available agent"),
        (Trouble(200, "<html>Welcome to nginx</html>"), "no Ray dashboard"),
        (Trouble(200, "[]"), "no Ray dashboard"),
        (Trouble(200, "{}"), "no Ray dashboard"),
        (Trouble(404, "404 page not found"), "answers 404"),
        (Trouble(302, ""), "answers 302"),
        (Trouble(401, "Unauthorized"), "refuses this worker's RAY_AUTH_TOKEN"),
        (Trouble(403, "Forbidden"), "refuses this worker's RAY_AUTH_TOKEN"),
        (Trouble(200, "{}", seconds=1.0), "answers too slowly"),
        (Trouble(200, "x" * 9_000_000), "does not answer"),
    ],
)
def test_who_is_not_ray_or_not_well_is_waited_for_in_words(stand_in, directory, monkeypatch, trouble, words) -> None:
    monkeypatch.setattr(jobs_api, "_TIMEOUT", httpx.Timeout(0.5))
    ray._api.cache_clear()
    stand_in.trouble = trouble
    with pytest.raises(Busy, match=words):
        submitted(directory)
    ray._api.cache_clear()


def test_a_cluster_that_is_not_there_is_waited_for_and_not_asked_at_every_tick(
    directory: Path, settings, monkeypatch
) -> None:
    settings.RAY_ADDRESS, settings.RAY_GPUS_PER_PROCESS = "http://127.0.0.1:9", 0.0
    for _ in range(2):
        with pytest.raises(Busy, match="the Ray cluster does not answer"):
            submitted(directory)
        # The second time nobody is asked: a loop that follows thirty runs must not wait for each.
        monkeypatch.setattr(httpx.Client, "stream", lambda *_, **__: pytest.fail("asked again"))


def test_the_token_goes_with_each_question(stand_in: Dashboard, directory: Path, settings) -> None:
    stand_in.token = settings.RAY_AUTH_TOKEN = "t" * 32
    assert submitted(directory) in stand_in.jobs
    settings.RAY_AUTH_TOKEN = "wrong"
    with pytest.raises(Busy, match="RAY_AUTH_TOKEN"):
        submitted(directory, 2)


def test_what_ray_refuses_fails_the_run_in_words(stand_in: Dashboard, directory: Path, monkeypatch) -> None:
    body = ray._body
    monkeypatch.setattr(ray, "_body", lambda *order: {**body(*order), "entrypoint_colour": "red"})
    with pytest.raises(RecipeFailure, match="unexpected keyword argument 'entrypoint_colour'") as failure:
        submitted(directory)
    assert failure.value.code == "ray_refused" and not stand_in.jobs


def test_a_busy_cluster_is_waited_for_and_counts_as_full(stand_in: Dashboard, directory: Path, clock: Clock) -> None:
    job = followed(directory, clock)
    assert later(job, clock, 6) is None
    assert job.phase == "waiting for free resources: it asks for 1 CPU" and not job.waits_for_room
    assert later(job, clock, 4) is None and job.waits_for_room
    reported(job)
    assert later(job, clock, 0) is None and not job.waits_for_room and job.phase == ""


def test_so_many_runs_may_wait_in_ray_as_the_operator_lets_its_autoscaler_see(settings, monkeypatch) -> None:
    jobs = {str(n): SimpleNamespace(waits_for_room=n < 2) for n in range(3)}
    monkeypatch.setattr(ray, "_jobs", jobs)
    assert ray.is_full(), "one, unless told otherwise"
    settings.RAY_WAITING_RUNS = 2
    assert ray.is_full()
    settings.RAY_WAITING_RUNS = 3
    assert not ray.is_full()


def test_gpus_count_from_when_the_node_has_begun(stand_in: Dashboard, directory: Path, clock: Clock) -> None:
    job = followed(directory, clock, Wanted(1, gpus=2))
    assert later(job, clock, 6) is None and job.gpus == 0
    reported(job)
    assert later(job, clock, 0) is None and job.gpus == 2


def test_gpus_of_several_nodes_count_together_and_from_when_all_have_room(stand_in, directory: Path, clock) -> None:
    job = followed(directory, clock, Wanted(1, gpus=8, nodes=2))
    reported(job, 1, PLACING)
    assert later(job, clock, 6) is None and job.gpus == 0, "it waits for a second node"
    reported(job, 2)
    assert later(job, clock, 0) is None and job.gpus == 16


def test_a_run_that_no_node_can_hold_waits_for_a_while_and_fails_with_both_numbers(
    stand_in: Dashboard, directory: Path, clock: Clock, settings
) -> None:
    job = followed(directory, clock, Wanted(1, 8))
    assert later(job, clock, 6) is None and job.phase == "no node has enough resources: it asks for 8 GPUs, 1 CPU"
    with pytest.raises(RecipeFailure) as failure:
        later(job, clock, settings.RAY_NODE_WAIT_SECONDS)
    assert failure.value.code == "no_node" and "RAY_GPUS_PER_PROCESS" in failure.value.remedy
    assert "8 GPUs, 1 CPU on one node; the largest of 1 nodes has 8 CPUs" in failure.value.message
    assert f"POST /api/jobs/{job.submission_id}/stop" in stand_in.asked
    heartbeat = job.files.heartbeat()
    assert heartbeat is not None and heartbeat.grace_seconds == 0, "should it ever begin, it ends before it has begun"


def test_a_larger_node_that_joins_meanwhile_is_waited_for(stand_in: Dashboard, directory: Path, clock: Clock, settings):
    job = followed(directory, clock, Wanted(16))
    assert later(job, clock, 6) is None
    stand_in.nodes = [NODE, {**NODE, "resources_total": {"CPU": 32.0}}]
    assert later(job, clock, settings.RAY_NODE_WAIT_SECONDS) is None
    assert job.phase == "waiting for free resources: it asks for 16 CPUs"


def test_nodes_that_are_dead_hold_nothing(stand_in: Dashboard) -> None:
    stand_in.nodes = [{**NODE, "state": "DEAD"}]
    assert ray._site().api.nodes() == []


def test_while_its_node_reports_nobody_asks_whether_the_head_lives(
    stand_in: Dashboard, directory: Path, clock: Clock
) -> None:
    job = followed(directory, clock)
    stand_in.trouble = Trouble(500)
    for counter in range(1, 60):
        reported(job, counter)
        assert later(job, clock, 2) is None
    assert ray_usage(job) == (5.0, 2_000_000) and job.place == "gpu-3"


def ray_usage(job: FollowedJob) -> tuple[float, int]:
    return job.usage.cpu_seconds, job.usage.memory_bytes


def test_the_nodes_last_word_is_how_it_ended(stand_in: Dashboard, directory: Path, clock: Clock) -> None:
    job = followed(directory, clock)
    reported(job)
    job.files.write_end(End(1, -signal.SIGKILL, "", 7.0, 3_000_000, starved_bytes=16_000_000))
    assert later(job, clock, 0) == -signal.SIGKILL and job.is_over
    assert (job.usage.cpu_seconds, job.usage.starved_bytes) == (7.0, 16_000_000)


@pytest.mark.parametrize(("has_begun", "raised"), [(True, Lost), (False, NotStarted)])
def test_a_head_that_was_started_anew_knows_no_job(stand_in, directory, clock, has_begun, raised) -> None:
    job = followed(directory, clock)
    if has_begun:
        reported(job)
        assert later(job, clock, 0) is None
    stand_in.jobs.clear()
    with pytest.raises(raised, match="its head node was restarted"):
        later(job, clock, 10)


@pytest.mark.parametrize(("has_begun", "raised"), [(True, Lost), (False, NotStarted)])
def test_silence_of_node_and_head_is_waited_out(stand_in, directory, clock, has_begun, raised) -> None:
    job = followed(directory, clock)
    if has_begun:
        reported(job)
        assert later(job, clock, 0) is None
    stand_in.trouble = Trouble(500)
    assert later(job, clock, job.site.timing.surely_over - 1) is None and "500" in job.phase
    with pytest.raises(raised):
        later(job, clock, 2)


@pytest.mark.parametrize(
    ("error_type", "has_begun", "raised"),
    [
        ("RUNTIME_ENV_SETUP_FAILURE", False, RecipeFailure),
        ("JOB_ENTRYPOINT_COMMAND_ERROR", False, RecipeFailure),
        ("JOB_SUPERVISOR_ACTOR_START_TIMEOUT", False, NotStarted),
        ("JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE", False, NotStarted),
        ("JOB_SUPERVISOR_ACTOR_DIED", False, Lost),
        ("JOB_SUPERVISOR_ACTOR_DIED", True, Lost),
        ("JOB_ENTRYPOINT_COMMAND_ERROR", True, Lost),  # our process on the node was killed
        ("", False, Lost),
    ],
)
def test_what_ray_says_of_a_job_that_left_no_word(stand_in, directory, clock, error_type, has_begun, raised) -> None:
    job = followed(directory, clock)
    if has_begun:
        reported(job)
        assert later(job, clock, 0) is None
    stand_in.jobs[job.submission_id] |= {"status": "FAILED", "error_type": error_type, "message": "first\nthe reason"}
    assert later(job, clock, 10) is None, "the node's own word may be on its way"
    with pytest.raises(raised, match="the reason"):
        later(job, clock, 3)


def test_a_word_that_comes_after_rays_counts(stand_in: Dashboard, directory: Path, clock: Clock) -> None:
    job = followed(directory, clock)
    reported(job)
    later(job, clock, 0)
    stand_in.jobs[job.submission_id] |= {"status": "SUCCEEDED", "driver_exit_code": 0}
    assert later(job, clock, 10) is None
    job.files.write_end(End(1, 0))
    assert later(job, clock, 1) == 0


def test_stopping_what_waits_for_room_does_not_wait_for_the_room(stand_in: Dashboard, directory: Path) -> None:
    handle = submitted(directory)
    ray.stop(handle, 5)
    assert ray.poll(handle) == -signal.SIGTERM
    assert stand_in.jobs[handle]["status"] == "PENDING", "as with Ray itself"
    assert NodeFiles(directory, 1).heartbeat() == Heartbeat(1, 1, 5)
    ray.forget(handle)


def test_keys_go_once_and_to_the_process_that_asked_first(stand_in: Dashboard, directory: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from training.runs.launchers import sealed_secrets
    from training.runs.launchers.on_node import purpose

    handle = submitted(directory, secrets={"parent": ("https://models.example/v1", KEY)})
    own, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    files = NodeFiles(directory, 1)
    for counter, key in enumerate((own, other), 1):
        files.write_report(Report(1, counter, host="gpu-3", public_key=sealed_secrets.public_text(key)))
        assert ray.poll(handle) is None
    opened = sealed_secrets.unseal(files.sealed(), own, purpose(directory, 1))
    assert opened == {"parent": ["https://models.example/v1", KEY]}
    ray.forget(handle)


class TestAnEarlierAttempt:
    """A new one waits until nothing of it can work any more."""

    @pytest.fixture(autouse=True)
    def earlier(self, stand_in: Dashboard, directory: Path) -> str:
        handle = submitted(directory)
        ray.forget(handle)
        ray.begin(directory, 2)
        return handle

    def test_that_said_how_it_ended_is_over(self, directory: Path) -> None:
        NodeFiles(directory, 1).write_end(End(1, 0))
        ray.end_leftovers(directory)

    def test_that_works_is_stopped_and_waited_for(self, stand_in: Dashboard, directory: Path, earlier: str) -> None:
        stand_in.jobs[earlier]["status"] = "RUNNING"
        NodeFiles(directory, 1).write_report(Report(1, 1))
        with pytest.raises(Busy, match="attempt 1 may still be ending"):
            ray.end_leftovers(directory)
        assert f"POST /api/jobs/{earlier}/stop" in stand_in.asked

    @pytest.mark.parametrize("status", ["FAILED", "STOPPED", "SUCCEEDED"])
    def test_that_ray_calls_ended_may_be_an_orphan(self, stand_in, directory, earlier, status) -> None:
        stand_in.jobs[earlier] |= {"status": status, "driver_exit_code": 137}
        NodeFiles(directory, 1).write_report(Report(1, 1))
        with pytest.raises(Busy):
            ray.end_leftovers(directory)

    def test_that_waits_for_room_never_begins(self, directory: Path) -> None:
        ray.end_leftovers(directory)

    def test_of_a_head_that_is_gone_may_still_work(self, stand_in: Dashboard, directory: Path) -> None:
        stand_in.jobs.clear()
        with pytest.raises(Busy):
            ray.end_leftovers(directory)

    def test_is_surely_over_when_its_heartbeat_has_run_out(self, stand_in, directory, monkeypatch) -> None:
        stand_in.trouble = Trouble(500)
        begun = ray._beginnings[directory]
        late = begun.at + ray._site().timing.surely_over
        for seconds, is_over in ((-0.1, False), (0.1, True)):
            monkeypatch.setattr(ray.time, "monotonic", lambda now=late + seconds: now)
            if is_over:
                ray.end_leftovers(directory)
            else:
                with pytest.raises(Busy):
                    ray.end_leftovers(directory)
        monkeypatch.undo()
        ray.begin(directory, 3)
        ray.end_leftovers(directory)  # a third one does not wait for the first again

    def test_counts_from_when_the_number_was_written_and_not_from_the_last_question(self, directory: Path) -> None:
        at = ray._beginnings[directory].at
        ray.begin(directory, 2)
        assert ray._beginnings[directory].at == at


@pytest.mark.django_db
def test_the_page_names_the_node_and_links_the_dashboard_for_who_may_see_machines(client, project, settings) -> None:
    settings.RAY_DASHBOARD_URL = "https://ray.example.org"
    run = make_run(project, state="running")
    Attempt.objects.create(
        run=run, number=1, lease_expires_at="2030-01-01T00:00:00Z", worker="w", launcher="ray",
        handle="assay-1-run-1-attempt-1", node="gpu-3 (Ray node 4f3a0b1c)",
    )  # fmt: skip
    link = "https://ray.example.org/#/jobs/assay-1-run-1-attempt-1"
    sign_in(client, project, "researcher")
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "gpu-3 (Ray node 4f3a0b1c)" in page and link in page
    client.force_login(make_user(project))
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "gpu-3" not in page and link not in page
    Attempt.objects.update(launcher="training.runs.launchers.local")
    sign_in(client, project, "researcher")
    assert link not in client.get(reverse("run", args=[run.pk])).content.decode()


@pytest.mark.django_db
def test_the_page_says_what_it_waits_for_as_it_is_written(client, project) -> None:
    run = make_run(project, state="running", phase="no node has enough resources: it asks for 8 GPUs, 8 CPUs")
    sign_in(client, project, "researcher")
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "No node has enough resources: it asks for 8 GPUs, 8 CPUs" in page


@pytest.mark.parametrize(
    ("address", "token", "ids"),
    [
        ("", "", []),
        ("http://127.0.0.1:8265", "t", []),
        ("https://ray.example.org", "t", []),
        ("http://10.0.0.1:8265", "t", ["training.W002"]),
        ("http://10.0.0.1:8265", "", ["training.W001"]),
        ("10.0.0.1:6379", "t", ["training.E001"]),
        ("ray://10.0.0.1:10001", "t", ["training.E001"]),
        ("auto", "", ["training.E001"]),
    ],
)
def test_the_check_warns_of_an_open_cluster_and_refuses_another_address(settings, address, token, ids) -> None:
    settings.RAY_ADDRESS, settings.RAY_AUTH_TOKEN = address, token
    assert [message.id for message in cluster_checks.check_cluster()] == ids


def test_the_check_says_that_a_user_for_recipes_is_the_nodes_affair(settings) -> None:
    settings.RAY_ADDRESS, settings.RAY_AUTH_TOKEN, settings.RECIPE_USER = "http://127.0.0.1:8265", "t", "recipes"
    assert [message.id for message in cluster_checks.check_cluster()] == ["training.W003"]


def test_settings_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    from django.core.exceptions import ImproperlyConfigured

    for text in ("[]", "{", '"x"'):
        with pytest.raises(ImproperlyConfigured, match="RAY_RUNTIME_ENV"):
            ray_settings.json_object("RAY_RUNTIME_ENV", {"RAY_RUNTIME_ENV": text})
    with pytest.raises(ImproperlyConfigured, match="RAY_RESOURCES"):
        ray_settings.resources({"RAY_RESOURCES": '{"training": "one"}'})
    with pytest.raises(ImproperlyConfigured, match="RAY_AUTH_TOKEN"):
        ray_settings.token({"RAY_AUTH_MODE": "token"})
    (tmp_path / "token").write_text("secret\n")
    assert ray_settings.token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}) == "secret"
    assert ray_settings.token({"RAY_AUTH_TOKEN": "secret"}) == "", "a cluster that asks for none is given none"


def test_an_attempt_that_never_began_costs_no_patience() -> None:
    ending = Ending.not_started("the cluster was full")
    assert ending.retry and ending.state == "cancelled" and "the cluster was full" in ending.reason
