"""Large datasets are frozen in the background: once, the same as at once, through kills and cancellations."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from annotate.data import frozen_rows
from annotate.data.datasets import freezing
from annotate.data.datasets.actions import freeze
from annotate.models import AuditEntry, Dataset, DatasetFreeze
from tests.support.api_client import Program, errors
from tests.support.factories import make_comparison, make_pair, make_user


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "DATASETS_DIR", tmp_path)
    monkeypatch.setattr(freezing, "SMALL", 2)
    return tmp_path


def annotated(project) -> None:
    for _ in range(3):
        make_comparison(*make_pair(project), author=make_user(project))


def order(project, by, name="large") -> DatasetFreeze:
    made = freezing.order_freeze(project=project, kind="preferences", name=name, by=by)
    assert isinstance(made, DatasetFreeze)
    return made


def test_a_large_dataset_is_frozen_in_the_background_and_is_the_same(client, project, researcher):
    annotated(project)
    at_once = freeze(project=project, kind="preferences", name="at once", by=researcher)
    client.force_login(researcher)
    form = {"kind": "preferences", "name": "large", "judge": "person", "next": "/runs/new/?kind=reward"}
    page = client.post(reverse("datasets", args=[project.slug]), form, follow=True)
    assert "waits for the background worker" in page.content.decode()
    assert "large</a> is being frozen" in client.get(reverse("datasets", args=[project.slug])).content.decode()
    assert freezing.freezer().do_now() and not freezing.freezer().do_now()
    made = Dataset.objects.get(name="large")
    assert (made.content_hash, made.counts, made.created_by) == (at_once.content_hash, at_once.counts, researcher)
    assert set(made.comparisons.all()) == set(at_once.comparisons.all())
    address = page.redirect_chain[-1][0]
    part = client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert f"/runs/new/?kind=reward&amp;dataset={made.pk}" in part and "<h1>" not in part and "every 1s" not in part


def test_few_rows_are_frozen_at_once_and_large_ones_answer_202(project, researcher):
    body = {"project": project.slug, "kind": "preferences", "name": "one"}
    make_comparison(*make_pair(project))
    assert Program(researcher).post("datasets/", body).status_code == 201
    annotated(project)
    answer = Program(researcher).post("datasets/", body | {"name": "two"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    errors(Program(researcher).post("datasets/", body | {"name": "two"}), 409)
    errors(Program(researcher).post("datasets/", body | {"name": "three", "per_prompt": 99}), 400)
    named = {"name": "named", "comparisons": [project.comparisons.first().pk]}
    assert Program(researcher).post("datasets/", body | named).status_code == 201, "few are named"
    address = f"dataset-freezes/{answer.json()['id']}/"
    freezing.freezer().do_now()
    done = Program(researcher).get(address).json()
    assert (done["state"], done["dataset"]) == ("done", Dataset.objects.get(name="two").pk)
    errors(Program(researcher).post(f"{address}cancel/", {}), 409)
    errors(Program(make_user(project)).get(address), 404)


def test_killed_at_any_step_it_is_begun_anew_and_there_is_one_dataset(project, researcher, monkeypatch):
    annotated(project)
    made = order(project, researcher)
    steps: list[str] = []

    class Killed(BaseException):
        """As `kill -9`: nothing is caught."""

    def until(n):
        def call(self, stage, share):
            steps.append(stage)
            if len(steps) > n:
                raise Killed

        return call

    for n in range(20):
        steps.clear()
        monkeypatch.setattr("annotate.core.db.long_work.Hold.__call__", until(n))
        try:
            assert freezing.freezer().do_now()
            break
        except Killed:
            assert not Dataset.objects.exists() and not freezing.freezer().do_now(), "its lease has not run out"
            DatasetFreeze.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    made.refresh_from_db()
    assert n == len(steps) >= 4 and made.state == "done" and made.dataset == Dataset.objects.get()


def test_who_has_lost_it_or_was_cancelled_makes_no_dataset(client, project, researcher, monkeypatch):
    annotated(project)
    made = order(project, researcher)
    client.force_login(researcher)

    def cancelled_meanwhile(*args, **kwargs):
        client.post(reverse("dataset-freeze-cancel", args=[project.slug, made.pk]))
        return freeze(*args, **kwargs)

    monkeypatch.setattr(freezing, "freeze", cancelled_meanwhile)
    assert freezing.freezer().do_now()
    made.refresh_from_db()
    assert made.state == "cancelled" and not Dataset.objects.exists()
    assert AuditEntry.objects.filter(action="dataset.freeze cancelled", actor=researcher).exists()
    assert "No dataset was made" in client.get(reverse("dataset-freeze", args=[project.slug, made.pk])).content.decode()


def test_cancelled_while_its_files_are_written_it_leaves_none_behind(project, researcher, folder, monkeypatch):
    annotated(project)
    made, write_lines = order(project, researcher), frozen_rows._write_lines

    def cancelled_meanwhile(path, rows):
        write_lines(path, rows)
        if made.is_under_way:
            freezing.cancel_freeze(made, by=researcher)

    monkeypatch.setattr(frozen_rows, "_write_lines", cancelled_meanwhile)
    assert freezing.freezer().do_now()
    made.refresh_from_db()
    assert made.state == "cancelled" and not Dataset.objects.exists() and not [*folder.rglob("*.jsonl")]


def test_an_end_that_is_refused_or_fails_says_why(project, researcher, monkeypatch):
    annotated(project)
    taken, broken = order(project, researcher, "taken"), order(project, researcher, "broken")
    freeze(project=project, kind="preferences", name="taken", by=researcher)
    freezing.freezer().do_now()
    monkeypatch.setattr(freezing, "freeze", lambda **_: 1 / 0)
    freezing.freezer().do_now()
    taken.refresh_from_db()
    broken.refresh_from_db()
    assert taken.state == broken.state == "failed"
    assert "already has a dataset 'taken'" in taken.problem and "ZeroDivisionError" in broken.problem
