"""What a project may use: runs at work at once, GPU hours in 30 days, disk; and what is said beyond it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import AuditEntry, Project
from config import queue_settings
from tests.support.api_client import Program
from tests.support.factories import make_project, make_user, sign_in
from tests.support.training.runs import in_a_thread, make_dataset, make_run, make_weights
from training.models import Attempt, Quota, Run
from training.runs.ordering.actions import resume
from training.runs.queue import supervision
from training.storage import quotas

pytestmark = pytest.mark.django_db


def claim() -> Attempt | None:
    return supervision.claim(worker="one", launcher="test")


def attempt_with_gpus(project: Project, gpus: float, begin_hours: float, end_hours: float | None = None) -> Attempt:
    """An attempt that has held its GPUs since so many hours before now, until so many, or still."""
    now = timezone.now()
    return Attempt.objects.create(
        run=make_run(project, state="failed"),
        number=1,
        worker="w@h:1:1:1",
        launcher="local",
        state="running" if end_hours is None else "failed",
        lease_expires_at=now,
        gpus=gpus,
        gpus_since=now - timedelta(hours=begin_hours),
        ended_at=None if end_hours is None else now - timedelta(hours=end_hours),
    )


# Runs at once


def test_a_run_beyond_the_quota_waits_and_others_go_on(settings):
    settings.QUOTA_RUNS = 2
    busy, quiet = make_project(), make_project()
    runs = [make_run(busy, priority="high") for _ in range(3)]
    late = make_run(quiet, priority="low")
    claimed = [claim() for _ in range(4)]
    assert [attempt and attempt.run for attempt in claimed] == [*runs[:2], late, None]
    Run.objects.filter(pk=runs[0].pk).update(state="succeeded")
    attempt = claim()
    assert attempt is not None and attempt.run == runs[2]


def test_a_projects_own_quota_replaces_that_of_the_installation(settings, project):
    settings.QUOTA_RUNS = 1
    for _ in range(3):
        make_run(project)
    Quota.objects.create(project=project, runs=2)
    assert [claim() is not None for _ in range(3)] == [True, True, False]
    Quota.objects.update(runs=0)
    assert claim() is not None, "0: no limit"


@pytest.mark.django_db(transaction=True)
def test_racing_workers_do_not_exceed_the_quota(settings, project):
    settings.QUOTA_RUNS = 2
    for _ in range(8):
        make_run(project)
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        while claim():
            pass

    threads = [threading.Thread(target=in_a_thread(work)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    while claim():  # who finds the row locked looks away
        pass
    assert Run.objects.filter(state="running").count() == 2 == Attempt.objects.count()


def test_the_page_of_a_waiting_run_says_what_it_waits_for(client, settings, project):
    settings.QUOTA_RUNS = 2
    sign_in(client, project, "researcher")
    for _ in range(2):
        make_run(project)
        claim()
    waiting = make_run(project)
    for address in (reverse("run", args=[waiting.pk]), reverse("runs", args=[project.slug])):
        assert "2 of 2 runs of this project at work" in client.get(address).content.decode()
    other = make_run(make_project())
    text = client.get(reverse("run", args=[other.pk])).content.decode()
    assert "Next in the queue" in text, "what may not begin is not before it"


# GPU hours


def test_gpu_hours_are_those_that_attempts_held_in_the_last_30_days(project):
    attempt_with_gpus(project, 2, begin_hours=10, end_hours=7)
    attempt_with_gpus(project, 0.5, begin_hours=4)
    attempt_with_gpus(project, 1, begin_hours=30 * 24 + 5, end_hours=30 * 24 - 1)
    attempt_with_gpus(project, 8, begin_hours=40 * 24, end_hours=31 * 24)
    attempt_with_gpus(make_project(), 8, begin_hours=9, end_hours=1)
    assert quotas.gpu_hours(project) == pytest.approx(6 + 2 + 1, abs=0.01)


def refused(project: Project) -> Refused:
    with pytest.raises(Refused) as caught:
        quotas.check(project)
    return caught.value


def test_an_order_beyond_the_gpu_hours_names_the_figure_and_the_remedy(settings, project):
    settings.QUOTA_GPU_HOURS = 6.5
    quotas.check(project)
    attempt_with_gpus(project, 2, begin_hours=10, end_hours=6.75)
    error = refused(project)
    assert (error.status, list(error.errors)) == (409, ["gpu_hours"])
    assert error.errors["gpu_hours"].startswith(
        f"{project.name} has used 6.5 of its 6.5 GPU hours of the last 30 days. Wait until"
    )


def test_an_order_beyond_the_disk_names_the_figure_and_the_remedy(settings, project):
    settings.QUOTA_DISK_GB = 0.001
    run = make_run(project, state="failed")
    run.path.mkdir(parents=True)
    quotas.check(project)
    (run.path / "log.txt").write_bytes(b"x" * 2_000_000)
    error = refused(project)
    assert (error.status, list(error.errors)) == (409, ["disk_gb"])
    assert "of its 0.001 GB. Delete checkpoints under Disk use, or " in error.errors["disk_gb"]


def test_form_and_api_refuse_an_order_beyond_a_quota_and_so_does_resume(client, settings, project):
    settings.QUOTA_GPU_HOURS = 1
    attempt_with_gpus(project, 2, begin_hours=10, end_hours=5)
    researcher = sign_in(client, project, "researcher")
    parent, dataset = make_weights(), make_dataset(project)
    before = Run.objects.count()
    order = {"kind": "sample", "name": "answers", "parent": parent.pk, "dataset": dataset.pk}
    answer = Program(researcher).post("runs/", {**order, "project": project.slug})
    assert answer.status_code == 409 and list(answer.json()["errors"]) == ["gpu_hours"]
    address = reverse("new-run", args=[project.slug, "sample"])
    form = client.get(address).context["form"]
    fields = [*form.first_fields(), *form.advanced_fields()]
    values = {field.html_name: "" if field.value() is None else field.value() for field in fields}
    response = client.post(address, {**values, **order})
    assert response.status_code == 409 and "has used 10.0 of its 1 GPU hours" in response.content.decode()
    assert Run.objects.count() == before
    with pytest.raises(Refused, match="GPU hours"):
        resume(run=project.runs.get(), by=researcher)


# Settings and the administration


@pytest.mark.parametrize(("text", "value"), [("", None), ("0", None), ("2.5", 2.5)])
def test_a_limit_is_a_number_and_0_is_none(text, value):
    assert queue_settings.limit("ASSAY_QUOTA_RUNS", {"ASSAY_QUOTA_RUNS": text}) == value


@pytest.mark.parametrize("text", ["two", "-1", "nan", "inf"])
def test_a_limit_that_is_no_number_is_refused_at_the_start(text):
    with pytest.raises(ImproperlyConfigured, match="ASSAY_QUOTA_RUNS is to be a number above 0"):
        queue_settings.limit("ASSAY_QUOTA_RUNS", {"ASSAY_QUOTA_RUNS": text})


def test_staff_set_a_projects_quota_in_the_administration_with_an_audit_entry(client, project):
    client.force_login(make_user(is_staff=True, is_superuser=True))
    client.post(reverse("admin:training_quota_add"), {"project": project.pk, "runs": 3, "gpu_hours": "", "disk_gb": 50})
    quota = Quota.objects.get(project=project)
    assert (quota.runs, quota.gpu_hours, quota.disk_gb) == (3, None, 50)
    client.post(reverse("admin:training_quota_delete", args=[quota.pk]), {"post": "yes"})
    assert not Quota.objects.exists()
    changes = AuditEntry.objects.filter(action="quota.changed", project=project).order_by("id")
    assert [entry.changes["runs"] for entry in changes] == [[None, 3], [3, None]]


def test_the_disk_page_shows_what_is_used_of_each_quota(client, settings, project):
    settings.QUOTA_RUNS, settings.QUOTA_GPU_HOURS, settings.QUOTA_DISK_GB = 2, 100, 50
    sign_in(client, project, "researcher")
    make_run(project)
    claim()
    attempt_with_gpus(project, 2, begin_hours=10, end_hours=4)
    text = client.get(reverse("disk", args=[project.slug])).content.decode()
    for words in ("1 of 2", "12.0 of 100 in 30 days", "0.0 of 50 GB"):
        assert words in text
