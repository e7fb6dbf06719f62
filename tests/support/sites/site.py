"""A whole installation for tests: web, worker and model server under the runner, on a data folder of their own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support import programs
from tests.support.factories import PASSWORD
from tests.support.migrated import copy_migrated
from tests.support.processes import FOREIGN, ROOT, answers, free_ports, until


@dataclass
class Site:
    url: str
    data: Path
    made: dict[str, Any]
    environment: dict[str, str]
    runner: subprocess.Popen | None = None
    cookies: dict[str, list] = field(default_factory=dict)  # of whom has signed in, for the browser's later tests
    is_forked: bool = True  # else its processes are started anew, and descend from the runner

    def page(self, path: str) -> str:
        return f"{self.url}/p/{self.made['project']}/{path}"

    def start(self, *command: str) -> None:
        """Start the runner, and wait until pages and model server answer."""
        arguments = ["--log-folder", str(self.data / "logs"), "--", *command] if command else []
        with self.way_of_starting(), (self.data / "runner.log").open("a") as log:
            self.runner = subprocess.Popen(
                [sys.executable, "-m", "config.runner", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        models = f"http://127.0.0.1:{int(self.environment['PORT']) + 1}/health"
        for address in (self.url, models):
            until(lambda address=address: answers(address), 120, f"{address} answers; see {self.data}/runner.log")

    def stop(self) -> None:
        assert self.runner is not None
        self.runner.terminate()
        self.runner.wait(30)

    def way_of_starting(self) -> AbstractContextManager[None]:
        """Return the context in which its programs are started."""
        return programs.forked() if self.is_forked else nullcontext()

    def manage(self, *words: str, folder: Path = ROOT, **variables: str) -> str:
        """Run a command of manage.py on it; return what it prints."""
        command = [sys.executable, str(ROOT / "manage.py"), *words]
        with self.way_of_starting():
            return subprocess.run(
                command, cwd=folder, env=self.environment | variables, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

    def create_superuser(self, name: str) -> None:
        self.manage(
            *("createsuperuser", "--noinput", f"--username={name}", f"--email={name}@example.org"),
            DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        )

    def process(self, word: str) -> psutil.Process | None:
        """The process below the runner, or forked for this site, whose command line holds that word."""
        assert self.runner is not None
        below = psutil.Process(self.runner.pid).children(recursive=True)
        for process in [*below, *(programs.processes_of(self.data) if self.is_forked else [])]:
            try:
                if any(word in argument for argument in process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None

    def query(self, sql: str, *values: Any) -> list[tuple]:
        """What the site's database holds, read from beside it."""
        with closing(sqlite3.connect(self.data / "assay.sqlite3", timeout=20)) as database:
            return database.execute(sql, values).fetchall()

    def api(self, username: str) -> httpx.Client:
        token = httpx.post(f"{self.url}/api/v1/auth/token/", json={"username": username, "password": PASSWORD}).json()
        headers = {"Authorization": f"Token {token['token']}"}
        return httpx.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=60)


def empty_site(data: Path) -> Site:
    """A migrated database and a free port; nothing runs yet."""
    port, _ = free_ports()
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    environment |= {"ASSAY_DATA": str(data), "PORT": str(port), "HF_HUB_OFFLINE": "1"}
    data.mkdir(exist_ok=True)
    copy_migrated(data / "assay.sqlite3")
    return Site(f"http://127.0.0.1:{port}", data, {}, environment)


@contextmanager
def filled_site(data: Path, *, is_forked: bool = True, **variables: str) -> Iterator[Site]:
    """Two tiny models, prompts, answers, votes, and three people: anna and ben judge, rita manages. `variables` are its
    processes' own."""
    site = empty_site(data)
    site.is_forked = is_forked
    site.environment |= variables
    with site.way_of_starting():
        filled = subprocess.run(
            [sys.executable, "-m", "tests.support.sites.fill_site"],
            cwd=ROOT,
            env=site.environment,
            check=True,
            stdout=subprocess.PIPE,
        )
    site.made = json.loads(filled.stdout.splitlines()[-1])
    try:
        site.start()
        yield site
    finally:
        site.stop()
