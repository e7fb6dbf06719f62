"""A recipe is given what it needs and no secret of the site; memory, files and processes are bounded."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import until
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common.entry import describe
from training.runs.launchers import confinement, local

CONFINED = "tests.support.training.confined"
SECRETS = {
    "SECRET_KEY": "s", "DATABASE_URL": "postgres://assay:s@db/assay", "REDIS_URL": "redis://:s@cache/0",
    "EMAIL_HOST_PASSWORD": "s", "EMAIL_HOST_USER": "s", "HF_TOKEN": "s", "HUGGING_FACE_HUB_TOKEN": "s",
    "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "s", "ASSAY_JUDGE_KEY": "s", "ASSAY_JUDGE_KEY_OTHER": "s",
    "PYTHON_API_TOKEN": "s", "HTTPS_PROXY": "http://user:s@proxy", "MODEL_SERVER_URL": "http://u:s@models/v1",
}  # fmt: skip
NEEDED = {
    "PATH": os.environ["PATH"], "PYTHONPATH": "/opt/rewards", "HF_HOME": "/cache", "HF_HUB_OFFLINE": "1",
    "LC_ALL": "C.UTF-8", "TORCH_LOGS": "x", "ASSAY_DTYPE": "float32", "NCCL_DEBUG": "WARN",
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path, way_of_starting: str) -> Iterator[Path]:
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    for handle in list(local._children):
        local.stop(handle, 0)
        local.forget(handle)


def ended(directory: Path) -> tuple[dict, int]:
    """What the process saw, and its exit status."""
    handle = local.submit(directory, CONFINED)
    until(lambda: local.poll(handle) is not None)
    code = local.poll(handle)
    assert code is not None
    return json.loads((directory / "seen.json").read_text()), code


def test_a_recipe_sees_no_secret_of_the_site(directory, monkeypatch):
    for name, value in (SECRETS | NEEDED).items():
        monkeypatch.setenv(name, value)
    seen = ended(directory)[0]["environment"]
    assert not SECRETS.keys() & seen.keys()
    assert {name: seen.get(name) for name in NEEDED} == NEEDED
    assert seen[local.RUN_VARIABLE] == str(directory) and seen["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


def test_the_operator_may_hand_down_more(directory, monkeypatch, settings):
    monkeypatch.setenv("OUR_LICENCE_SERVER", "27000@licences")
    settings.RECIPE_ENVIRONMENT = ["OUR_LICENCE_SERVER", "NOT_SET"]
    assert ended(directory)[0]["environment"]["OUR_LICENCE_SERVER"] == "27000@licences"


@pytest.mark.parametrize(
    ("kind", "config", "gets"),
    [
        ("export", {"to": "hub", "repository": "us/model"}, {"HF_TOKEN", "HTTPS_PROXY"}),
        ("export", {"to": "gguf"}, set()),
        ("corpus", {"sources": "python:topics\nhub:owner/name"}, {"HF_TOKEN", "HTTPS_PROXY"}),
        ("corpus", {"sources": "python:topics"}, set()),
        ("sft", {}, set()),
        (
            "evaluate",
            {"measure": "win_rate", "judged_by": "endpoint", "judge_key_variable": "ASSAY_JUDGE_KEY_OTHER"},
            {"ASSAY_JUDGE_KEY_OTHER", "ASSAY_JUDGE_URL_OTHER", "HTTPS_PROXY"},
        ),
        ("evaluate", {"measure": "perplexity", "judge_key_variable": "ASSAY_JUDGE_KEY"}, set()),
        (
            "evaluate",
            {"measure": "win_rate", "judged_by": "endpoint", "judge_key_variable": "SECRET_KEY"},
            {"HTTPS_PROXY"},
        ),
    ],
)  # fmt: skip
def test_only_the_kind_that_needs_a_secret_gets_that_one(directory, monkeypatch, kind, config, gets):
    for name, value in (SECRETS | {"ASSAY_JUDGE_URL_OTHER": "u", "ASSAY_JUDGE_URL": "u"}).items():
        monkeypatch.setenv(name, value)
    assert kind in KINDS
    RunDirectory(directory).create(RunSpec(kind=kind, config=config))
    seen = ended(directory)[0]["environment"]
    handed = (SECRETS.keys() | {"ASSAY_JUDGE_URL_OTHER", "ASSAY_JUDGE_URL"}) & seen.keys()
    assert handed == gets


def test_what_it_writes_is_its_users_alone(directory):
    assert ended(directory)[0]["umask"] == 0o077
    assert (directory / "seen.json").stat().st_mode & 0o077 == 0


def test_memory_files_and_processes_are_bounded(directory, settings, monkeypatch):
    settings.RECIPE_MEMORY_GB, settings.RECIPE_FILE_GB, settings.RECIPE_PROCESSES = 1.0, 0.5, 50
    counted: list[int] = []  # threads that the user had as the recipe began
    count = confinement._threads_of_user
    monkeypatch.setattr(confinement, "_threads_of_user", lambda: counted.append(count()) or counted[-1])
    limits = ended(directory)[0]["limits"]
    assert limits["RLIMIT_DATA"] == [2**30, 2**30] and limits["RLIMIT_FSIZE"] == [2**29, 2**29]
    assert counted and limits["RLIMIT_NPROC"] == [50 + counted[-1]] * 2, "so many more than the user has now"
    assert limits["RLIMIT_CORE"] == [0, 0], "a core holds what was in memory"


def test_a_recipe_that_takes_more_memory_fails_in_itself(directory, settings):
    settings.RECIPE_MEMORY_GB = 1.0
    (directory / "memory.txt").write_text(str(2 * 2**30))
    assert ended(directory)[1] == 1
    assert "MemoryError" in local.logs(directory)


def test_a_file_grows_no_further_than_its_limit(directory, settings):
    settings.RECIPE_FILE_GB = 0.001
    (directory / "file.txt").write_text(str(2**30))
    assert ended(directory)[1] == 1
    assert "File too large" in local.logs(directory)


def test_a_recipe_that_meets_that_limit_says_so():
    failure = describe(OSError(errno.EFBIG, "File too large"))
    assert failure.code == "file_limit" and "ASSAY_RECIPE_FILE_GB" in failure.remedy


def test_nought_is_no_limit_but_for_the_machines_own(directory, settings):
    settings.RECIPE_MEMORY_GB = settings.RECIPE_FILE_GB = settings.RECIPE_PROCESSES = 0
    limits = ended(directory)[0]["limits"]
    assert limits["RLIMIT_FSIZE"][1] == -1
    assert 0 < limits["RLIMIT_DATA"][1] <= confinement.memory_limit() or confinement.memory_limit() == 0


def test_an_unknown_user_fails_the_run_in_words(directory, settings):
    settings.RECIPE_USER = "nobody-of-this-name"
    with pytest.raises(RecipeFailure, match="ASSAY_RECIPE_USER") as caught:
        local.submit(directory, CONFINED)
    assert caught.value.code == "recipe_user"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as somebody else")


def anybodys_python() -> str:
    """A Python that another user may start: that of a developer often lies in a home of mode 700."""
    for path in (sys.executable, "/usr/bin/python3.11", "/usr/bin/python3.12", "/usr/bin/python3.13"):
        with contextlib.suppress(OSError):
            if subprocess.run([path, "-c", ""], user="nobody", capture_output=True, check=False).returncode == 0:
                return path
    pytest.skip("no Python here that the user nobody may start")


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A run directory that another user may reach: pytest's own folders are one user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run = Path(folder) / "run"
        (run / "data").mkdir(parents=True)
        (run / "data" / "rows.jsonl").write_text("{}\n")
        yield run


@needs_root
def test_a_recipe_runs_as_the_user_that_the_operator_names(reachable, settings, monkeypatch):
    monkeypatch.setattr("sys.executable", anybodys_python())
    settings.RECIPE_USER = "nobody"
    nobody = pwd.getpwnam("nobody")
    (reachable / "link.txt").write_text("/etc/hostname")
    handle = local.submit(reachable, CONFINED)
    until(lambda: local.poll(handle) is not None)
    assert local.poll(handle) == 0, local.logs(reachable)
    seen = json.loads((reachable / "seen.json").read_text())
    assert seen["user"] == [nobody.pw_uid, nobody.pw_uid, nobody.pw_gid, []]
    assert seen["environment"]["HOME"] == nobody.pw_dir and seen["environment"]["USER"] == "nobody"
    assert (reachable / "data" / "rows.jsonl").stat().st_uid == 0, "what it was given is not its own to change"
    assert (reachable / "seen.json").stat().st_uid == 0, "what it left is taken back: no later recipe may change it"
    assert not (reachable / "stolen").is_symlink(), "nobody follows a link that it left to what it may not read"
