"""What lies on the disk, and the rule by which checkpoints go: none that a run could be resumed from, unasked."""

from __future__ import annotations

import io
import os
import shutil
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_project, make_user
from tests.support.training.runs import make_run
from training.core import kept_steps, run_artefact
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.worker import Worker
from training.storage import disk_usage, pruning, quotas, stored_runs

pytestmark = pytest.mark.django_db
_SIZE = 100_000


def ended(project, state: str, *, days: float = 2, steps=(10, 20, 30)) -> Run:
    """A run with a checkpoint at each of these steps, and a half-written one."""
    run = make_run(project, state=state, finished_at=timezone.now() - timedelta(days=days))
    directory = RunDirectory(run.path)
    for step in steps:
        (directory.begin_checkpoint(step) / "weights").write_bytes(b"x" * _SIZE)
        directory.commit_checkpoint(step, keep=99)
    (directory.begin_checkpoint(40) / "weights").write_bytes(b"x" * _SIZE)
    return run


def left(run: Run) -> list[str]:
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


def test_each_state_keeps_what_the_rule_says(project):
    runs = {state: ended(project, state) for state in Run.State.values}
    fresh = ended(project, "failed", days=0.5)
    pruning.prune()
    all_of_them = [".step-000040.partial", "step-000010", "step-000020", "step-000030"]
    assert left(runs["succeeded"]) == []
    for state in ("failed", "cancelled", "paused"):
        assert left(runs[state]) == ["step-000030"], state
    for state in ("queued", "running"):
        assert left(runs[state]) == all_of_them, state
    assert left(fresh) == all_of_them, "a day has not passed"
    pruning.prune(at_once=True)
    assert left(fresh) == ["step-000030"]
    assert RunDirectory(fresh.path).kept_step() == 30, "it can still be resumed"


def test_a_run_with_one_checkpoint_keeps_it_for_ever(project):
    run = ended(project, "failed", days=3000, steps=(10,))
    pruning.prune(at_once=True)
    assert left(run) == ["step-000010"]


def test_a_dry_run_tells_the_same_and_touches_nothing(project):
    run = ended(project, "cancelled")
    before = left(run)
    [told] = pruning.prune(dry_run=True)
    assert left(run) == before
    [gone] = pruning.prune()
    assert (told.folders, told.size) == (gone.folders, gone.size) and told.size >= 3 * _SIZE
    assert pruning.prune() == []


def test_a_deletion_that_was_cut_short_is_finished_the_next_time(project):
    run = ended(project, "failed")
    (run.path / "checkpoints" / "step-000010").rename(run.path / "checkpoints" / ".step-000010.pruned")
    assert RunDirectory(run.path).complete_checkpoints()[0].name == "step-000020"
    pruning.prune()
    assert left(run) == ["step-000030"]


def test_the_last_checkpoint_goes_only_when_asked_for_by_name(client, project):
    client.force_login(make_user(project, role="researcher"))
    run, other = ended(project, "failed"), ended(make_project(), "failed")
    url = reverse("prune", args=[project.slug])
    text = client.post(url, {"run": run.pk}, follow=True).content.decode()
    assert left(run) == [] and len(left(other)) == 4
    assert " kB freed." in text, "in the units that the rest of the page has"
    assert client.post(url, {"run": other.pk}).status_code == 404, "of another project"
    assert client.post(url, {"run": "x"}).status_code == 404
    busy = ended(project, "running")
    client.post(url, {"run": busy.pk})
    assert len(left(busy)) == 4, "its recipe is at work"


def test_what_a_run_kept_in_vain_goes_with_its_last_checkpoint_and_models_stay(project):
    failed, succeeded = (ended(project, state, days=0.5) for state in ("failed", "succeeded"))
    for run in (failed, succeeded):
        (kept_steps.begin(RunDirectory(run.path), 10) / "weights").write_bytes(b"x" * _SIZE)
        kept_steps.commit(RunDirectory(run.path), 10)
    pruning.prune(at_once=True)
    assert (failed.path / "kept").is_dir(), "it can still be resumed, and keeps them then"
    assert pruning.prune_last(failed) >= 2 * _SIZE and not list(failed.path.glob("*kept*"))
    pruning.prune_last(succeeded)
    assert (succeeded.path / "kept" / "step-000010").is_dir()


def test_only_researchers_see_and_prune(client, project):
    ended(project, "failed")
    client.force_login(make_user(project))
    assert client.get(reverse("disk", args=[project.slug])).status_code == 403
    assert client.post(reverse("prune", args=[project.slug])).status_code == 403


def test_a_program_reads_what_the_page_shows_and_prunes_by_the_same_rule(project):
    run, other = ended(project, "failed", days=0.5), ended(make_project(), "failed", days=0.5)
    researcher = program(project, "researcher")
    body = researcher.get("disk/", project=project.slug).json()
    [one] = body["runs"]
    assert one["run"] == run.pk and one["checkpoints"] >= 4 * _SIZE and body["prunable"] >= 3 * _SIZE
    assert 0 < body["free"] < body["capacity"] and body["rule"] == list(pruning.RULE)
    assert researcher.post("disk/prune/", {"project": project.slug}).json()["freed"] >= 3 * _SIZE
    assert left(run) == ["step-000030"] and len(left(other)) > 1  # the other project's are not theirs to prune
    assert "run" in errors(researcher.post("disk/prune/", {"project": project.slug, "run": other.pk}))
    assert researcher.post("disk/prune/", {"project": project.slug, "run": run.pk}).json()["freed"] >= _SIZE
    assert left(run) == [] and len(left(other)) > 1
    judge = program(project)
    assert errors(judge.get("disk/", project=project.slug), 403)
    assert errors(judge.post("disk/prune/", {"project": project.slug}), 403)
    assert "project" in errors(researcher.get("disk/"))


def test_the_page_adds_up(client, project):
    client.force_login(make_user(project, role="researcher"))
    run = ended(project, "failed", days=0.5)
    (run.path / "model").mkdir()
    (run.path / "model" / "model.safetensors").write_bytes(b"x" * 3 * _SIZE)
    ended(make_project(), "queued", steps=(10,))
    response = client.get(reverse("disk", args=[project.slug]))
    use = response.context["use"]
    [one] = use.runs
    assert one.checkpoints >= 4 * _SIZE and one.model >= 3 * _SIZE
    assert one.total == one.checkpoints + one.model + one.rest == use.of_runs
    assert use.elsewhere >= 2 * _SIZE and 0 < use.free < use.capacity
    text = response.content.decode()
    assert f"</meter> {disk_usage.size_in_words(use.used)} used" in text
    assert (
        pruning.RULE[1] in text
        and "Prune now" in text
        and f"Delete {disk_usage.size_in_words(one.checkpoints)}" in text
    )
    client.post(reverse("prune", args=[project.slug]))
    assert left(run) == ["step-000030"]
    assert "There is nothing to prune" in client.get(reverse("disk", args=[project.slug])).content.decode()


def test_files_with_several_names_count_once_and_sparse_ones_what_they_take(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * _SIZE)
    os.link(tmp_path / "a", tmp_path / "b")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "link").symlink_to("/etc")
    assert _SIZE <= disk_usage.size_of(tmp_path) < 2 * _SIZE
    assert disk_usage.size_of(tmp_path, shared=False) < _SIZE, "what has another name too is counted there"
    assert disk_usage.size_of(tmp_path / "nowhere") == 0


def test_sizes_are_said_as_on_a_disks_label():
    assert [disk_usage.size_in_words(s) for s in (0, 999, 4_000, 25e6, 3.14e9, 1.2e12)] == [
        "nothing", "999 bytes", "4 kB", "25 MB", "3.1 GB", "1.2 TB",
    ]  # fmt: skip


def test_the_command_says_what_went(project):
    run = ended(project, "succeeded")
    out = io.StringIO()
    call_command("prune_checkpoints", dry_run=True, stdout=out)
    assert f"run {run.pk}" in out.getvalue() and "Would free" in out.getvalue() and len(left(run)) == 4
    call_command("prune_checkpoints", stdout=out)
    assert "Freed" in out.getvalue() and left(run) == []


@pytest.mark.django_db(transaction=True)
def test_the_worker_prunes_once_a_day(project):
    run = ended(project, "succeeded")
    Worker().work(once=True)
    assert left(run) == []
    later = ended(project, "succeeded")
    Worker().work(once=True)
    assert len(left(later)) == 4, "not again on the same day"
    mark = settings.RUNS_DIR / ".pruned"
    for hours in (-25, 25):  # a day ago, and by a clock that went wrong
        later = ended(project, "succeeded")
        moment = mark.stat().st_mtime + hours * 3600
        os.utime(mark, (moment, moment))
        Worker().work(once=True)
        assert left(later) == []


@pytest.fixture
def stored_elsewhere(project, settings, tmp_path):
    """Three runs that ended on another host, of which this one has nothing but the storage."""
    (tmp_path / "storage").mkdir()
    settings.STORAGE = str(tmp_path / "storage")
    runs = [ended(project, "succeeded"), ended(project, "failed"), ended(project, "failed", days=0.5)]
    for run in runs:
        (run.path / "identity").write_text(stored_runs.identity_of(run))
        RunDirectory(run.path).model.mkdir()
        (RunDirectory(run.path).model / "weights").write_bytes(os.urandom(_SIZE))
        local_copies.keep(run.path, run_artefact.RULES)
        shutil.rmtree(run.path)
    return runs


def stored_steps(run: Run) -> list[str]:
    return sorted(disk_usage.of_checkpoints(disk_usage.stored_runs()[run.path]))


def test_checkpoints_that_only_the_storage_has_go_by_the_same_rule(stored_elsewhere):
    succeeded, failed, new = stored_elsewhere
    would = pruning.prune(dry_run=True)
    assert [(one.run, one.folders, one.size) for one in would] == [(succeeded, (), 3 * _SIZE), (failed, (), 2 * _SIZE)]
    assert pruning.prune() == would and pruning.prune() == []
    assert (stored_steps(succeeded), stored_steps(failed), len(stored_steps(new))) == ([], ["step-000030"], 3)
    assert pruning.prune_last(new) == 3 * _SIZE and stored_steps(new) == []


def test_what_a_run_has_stored_since_it_was_resumed_stays(stored_elsewhere, monkeypatch):
    failed = stored_elsewhere[1]
    drop = stored_runs.drop_checkpoints

    def resumed_meanwhile(run, **options):
        step = RunDirectory(run.path).checkpoints / "step-000040"
        step.mkdir(parents=True)
        (step / "state").write_bytes(os.urandom(_SIZE))
        (run.path / "identity").write_text(stored_runs.identity_of(run))
        stored_runs.keep(run, lambda: None)
        drop(run, **options)

    monkeypatch.setattr(stored_runs, "drop_checkpoints", resumed_meanwhile)
    pruning.prune_last(failed)
    assert stored_steps(failed) == ["step-000040"]


def test_what_only_the_storage_has_counts_in_figures_and_quota(client, project, stored_elsewhere, settings):
    client.force_login(make_user(project, role="researcher"))
    use = disk_usage.of_project(project)
    assert {(one.checkpoints, one.model, one.here) for one in use.runs} == {
        (3 * _SIZE, _SIZE, 0)
    } and use.elsewhere == 0
    assert disk_usage.size_of_project(project) >= use.of_runs >= 12 * _SIZE
    assert str(settings.STORAGE) in client.get(reverse("disk", args=[project.slug])).content.decode()
    settings.QUOTA_DISK_GB = 11 * _SIZE / 1e9
    with pytest.raises(Refused, match="GB"):
        quotas.check(project)


def test_a_look_lists_runs_and_models_of_the_storage_once(client, project, stored_elsewhere, settings, monkeypatch):
    user, listed, sizes_below = make_user(project, role="researcher"), [], local_copies.sizes_below
    settings.QUOTA_DISK_GB = 1.0
    monkeypatch.setattr(local_copies, "sizes_below", lambda folder: listed.append(folder) or sizes_below(folder))
    client.force_login(user)
    assert "of 1 GB" in client.get(reverse("disk", args=[project.slug])).content.decode()
    assert listed == [settings.RUNS_DIR, settings.MODELS_DIR]
    assert Program(user).get("disk/", project=project.slug).status_code == 200 and len(listed) == 4


def test_a_storage_that_does_not_answer_leaves_what_is_here(project, stored_elsewhere, settings, tmp_path):
    here = ended(project, "succeeded")
    (tmp_path / "storage").rename(tmp_path / "gone")
    settings.STORAGE = str(tmp_path / "storage")
    assert [one.run for one in disk_usage.of_project(project).runs] == [here]
    assert [one.run for one in pruning.prune()] == [here] and left(here) == []
