"""Several processes of one run: they learn what one learns, and they end together, whatever ends first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import programs
from tests.support.processes import alive, until
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import corpora
from tests.support.training.sharded_runs import carry_out
from training.core.endings import FAILED, LOST, explain
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common.adapters import merged_state
from training.runs.launchers import Busy, gpus, local, multi_process

ROOT = Path(__file__).parents[4]
SLEEPER, RECIPE = "tests.support.training.rank_sleeper", "training.recipes.pretrain"
CONFIG = {
    "size": "1M", "objective": "mixture", "context_length": 64, "batch_size": 8, "max_tokens": 4096, "dtype": "float32",
    "validate_every": 4, "checkpoint_every": 2, "sample_every": 100,
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path):
    yield tmp_path / "run"
    for handle in list(local._children):
        local.stop(handle, 0)
        local.forget(handle)


def lay(directory: Path, processes: int, tokenizer: Path | None = None) -> RunDirectory:
    run = RunDirectory(directory)
    run.create(RunSpec("pretrain", CONFIG | {"processes": processes}, seed=1, parent=str(tokenizer)))
    corpora.write_corpus(directory / "data", corpora.texts(160), corpora.texts(12, seed=9))
    return run


def started(directory: Path, count: int = 2) -> list[int]:
    """The PIDs of the sleeping processes, by rank."""
    paths = [directory / f"rank-{rank}.txt" for rank in range(count)]
    until(lambda: all(path.exists() for path in paths), 300, "all processes have started")
    return [int(path.read_text().split()[0]) for path in paths]


def all_gone(pids: list[int]) -> bool:
    return not any(alive(pid) for pid in pids)


def curve(run: RunDirectory, name: str) -> list[float]:
    rows = [json.loads(line)["values"] for line in (run.path / "metrics.jsonl").open()]
    return [row[name] for row in rows if name in row]


def test_one_process_is_started_as_ever(directory):
    lay(directory, 1)
    assert multi_process.processes_of(directory) == 1
    assert multi_process.command(directory, "training.recipes.pretrain", 1)[1:] == [
        "-m",
        "training.recipes.pretrain",
        str(directory),
    ]
    assert not (directory / multi_process.CONFIG_NAME).exists()


def test_what_accelerate_is_told_can_be_read_in_the_run_directory(directory):
    from accelerate.commands.config.config_args import load_config_from_file

    lay(directory, 3)
    multi_process.command(directory, "training.recipes.pretrain", multi_process.processes_of(directory))
    told = load_config_from_file(str(directory / multi_process.CONFIG_NAME))
    assert (told.num_processes, told.num_machines, told.main_process_port) == (3, 1, 0)


def test_several_gpus_are_leased_at_once_or_none(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "names", lambda: ("0", "1", "2"))
    with gpus.lease(tmp_path, 2) as pair:
        assert pair.environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
        with pytest.raises(Busy, match="1 of 2"):
            gpus.lease(tmp_path, 2)
        with gpus.lease(tmp_path) as single:
            assert single.environment == {"CUDA_VISIBLE_DEVICES": "2"}, "the one that was tried is free again"


def test_more_processes_than_gpus_are_refused_and_not_waited_for():
    with pytest.raises(RecipeFailure, match="4 processes") as caught:
        multi_process.check_gpus(4, 2)
    assert "at most 2" in caught.value.remedy
    multi_process.check_gpus(4, 0)  # on a processor, as many as one likes


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    plain_run_tries("stop", of=("stop", "one fails", "launcher killed", "one killed")),
)
def test_all_processes_end_with_the_run(directory, end):
    run = lay(directory, 2)
    handle = local.submit(directory, SLEEPER)
    pids = started(directory)
    launcher = local._children[handle].process.pid
    assert all((directory / f"rank-{rank}.txt").read_text().split()[2] == "2" for rank in range(2))
    if end == "stop":
        local.stop(handle, 3)
    elif end == "launcher killed":
        os.kill(launcher, signal.SIGKILL)
    else:
        os.kill(pids[1], signal.SIGKILL if end == "one killed" else signal.SIGBUS)
    until(lambda: local.poll(handle) is not None, 120, "the run has ended")
    until(lambda: all_gone([launcher, *pids]), 60, "nothing is left")
    code = local.poll(handle)
    assert code is not None
    assert explain(code, run).state == {"one fails": FAILED}.get(end, LOST)
    if end == "one fails":
        assert code == -signal.SIGBUS


@pytest.mark.slow
def test_the_parent_watchdog_ends_all_processes_when_the_worker_is_killed(directory):
    lay(directory, 2)
    script = (
        "import time; from pathlib import Path; import django; django.setup(); "
        "from training.runs.launchers import local; "
        f"local.submit(Path({str(directory)!r}), {SLEEPER!r}); time.sleep(120)"
    )
    environment = {**os.environ, "ASSAY_DATA": str(directory.parent), "DJANGO_SETTINGS_MODULE": "config.settings"}
    worker = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    pids = started(directory)
    worker.kill()
    worker.wait()
    until(lambda: all_gone(pids), 60, "nothing is left")


@pytest.mark.thorough
@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_a_kill_changes_nothing(tmp_path):
    tokenizer = corpora.make_tokenizer(tmp_path / "tokenizer")
    one, two, cut = (lay(tmp_path / name, n, tokenizer) for name, n in (("one", 1), ("two", 2), ("cut", 2)))
    for run, count in ((one, 1), (two, 2)):
        assert carry_out(run, RECIPE, count) == 0, local.logs(run.path)
    for name in ("loss", "grad_norm", "validation_loss", "masked_loss"):
        assert curve(two, name) == pytest.approx(curve(one, name), abs=1e-3), name
    sequences = [json.loads(line)["sequence"] for line in (two.path / "metrics.jsonl").open()]
    assert sequences == list(range(1, len(sequences) + 1)), "one process alone writes"
    weights = [dict(merged_state(run.model)) for run in (one, two)]
    assert all((weights[0][n] - weights[1][n]).abs().max() < 0.02 for n in weights[0])

    handle = local.submit(cut.path, RECIPE)
    until(lambda: cut.latest_checkpoint() is not None, 300, "a checkpoint")
    ranks = [p for p in psutil.Process(local._children[handle].process.pid).children(recursive=True)]
    ranks[-1].kill()
    until(lambda: local.poll(handle) is not None, 120, "the run has ended")
    assert explain(local.poll(handle) or 0, cut).state == LOST
    local.forget(handle)
    assert carry_out(cut, RECIPE, 2) == 0
    ours, theirs = (dict(merged_state(run.model)) for run in (cut, two))
    assert all((ours[name] == theirs[name]).all() for name in theirs), "resumed to the same bits"


@pytest.mark.thorough
@pytest.mark.slow
def test_what_one_process_knows_of_its_failure_is_what_is_told(tmp_path):
    run = lay(tmp_path / "none", 2, tmp_path / "no-tokenizer")
    assert carried_out_by_a_launcher(run, 2) == 1
    failure = run.failure()
    assert failure is not None and failure["code"] == "tokenizer_missing"


def carried_out_by_a_launcher(run: RunDirectory, count: int) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (run.path / "log.txt").open("ab") as log, programs.forked():
        return subprocess.run(
            multi_process.command(run.path, RECIPE, count),
            cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=200, check=False,
        ).returncode  # fmt: skip
