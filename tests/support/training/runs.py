"""Builders for tests of runs: models and datasets with real files, and runs of the fake kind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from django.conf import settings
from django.db import connection
from django.utils import timezone

from annotate.models import Dataset, LanguageModel, Project, Prompt
from tests.support.factories import make_model, make_project, make_prompt, make_user
from tests.support.training.fake_recipe import FakeConfig
from training import configs
from training.core import parent_watchdog
from training.core.kinds import KINDS, Kind
from training.models import Run

_pipe_ends: dict[int, int] = {}


def register_fake() -> None:
    if "fake" not in KINDS:
        configs.CONFIGS["fake"] = FakeConfig
        KINDS.register(
            Kind("fake", "Fake", "tests.support.training.fake_recipe", makes="policy", stage="fake", purpose="Counts.")
        )


def make_weights(**fields: Any) -> LanguageModel:
    model = make_model(**fields)
    assert model.path is not None
    model.path.mkdir(parents=True)
    (model.path / "config.json").write_text("{}")
    return model


def make_dataset(
    project: Project, *, kind: str = "prompts", side: str = "train", rows: int = 2, texts: Sequence[str] = ()
) -> Dataset:
    """Prompts hold a number of the whole session; `texts`, where another number would have another answer."""
    prompts = [make_prompt(project, text, side=side) for text in texts or [None] * rows]
    number = Dataset.objects.count() + 1
    dataset = Dataset.objects.create(
        project=project, name=f"dataset {number}", kind=kind, side=side, content_hash=f"{number:064x}",
        counts={"prompts": len(prompts)},
    )  # fmt: skip
    dataset.path.mkdir(parents=True)
    lines = [json.dumps({"id": p.pk, "messages": p.messages}) for p in prompts]
    (dataset.path / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines))
    dataset.prompts.set(Prompt.objects.filter(pk__in=[p.pk for p in prompts]))
    return dataset


def make_task(project: Project, form: str = "choices") -> Dataset:
    dataset = make_dataset(project, kind="task", side="eval")
    dataset.counts = {"form": form, "items": 2}
    dataset.save()
    return dataset


def make_run(project: Project | None = None, **fields: Any) -> Run:
    """A queued run of the fake kind; `config` in `fields` replaces defaults one by one."""
    register_fake()
    project = project or make_project()
    number = Run.objects.count() + 1
    config = {**FakeConfig().__dict__, **fields.pop("config", {})}
    values = {"kind": "fake", "name": f"run-{number}", "project": project, "parent": make_weights(), "config": config}
    return Run.objects.create(**{**values, "created_by": make_user(project, role="researcher"), **fields})


def start_worker(*arguments: str, database: str = "", lease_seconds: float = 3) -> subprocess.Popen[bytes]:
    """A worker process on the test's own database and data folder; it ends with the tests at the latest.

    `database` is another address of that database, when it is to be reached by a detour.
    """
    read_end, write_end = os.pipe()  # nobody closes the write end but our own end, however that comes
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.training.worker_process", *arguments],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "ASSAY_DATA": str(settings.DATA_DIR),
            "DATABASE_URL": database or database_url(),
            "RUN_LEASE_SECONDS": str(lease_seconds),
            parent_watchdog.ENVIRONMENT_NAME: str(read_end),
        },
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[read_end],
    )
    os.close(read_end)
    _pipe_ends[worker.pid] = write_end
    return worker


def end_workers() -> None:
    """What a test that failed has left behind."""
    for pid, write_end in _pipe_ends.items():
        os.close(write_end)
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(10)
    _pipe_ends.clear()


def database_url() -> str:
    """The address of the test's own database."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def lines_of(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def in_a_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function, for a thread: its database connection is closed when it ends."""

    def wrapped() -> Any:
        try:
            return function()
        finally:
            connection.close()

    return wrapped


def finished(
    project: Project, kind: str, seconds: float, config: dict[str, Any], *, state: str = "succeeded", **fields: Any
) -> Run:
    """Return a run that one machine carried out in one go, in so many seconds."""
    run = make_run(project, kind=kind, state=state, **fields)
    run.config = dict(vars(configs.parse(kind, config)))
    run.save()
    end = timezone.now()
    attempt = run.attempts.create(
        number=1, lease_expires_at=end, worker="w", launcher="l", state=state, ended_at=end, memory_bytes=1_400_000_000
    )
    run.attempts.filter(pk=attempt.pk).update(started_at=end - timedelta(seconds=seconds))
    return run
