"""A whole installation for tests: web, worker and model server under the runner, on a data folder of their own."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

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

    def page(self, path: str) -> str:
        return f"{self.url}/p/{self.made['project']}/{path}"

    def start(self, *command: str) -> None:
        """Start the runner, and wait until pages and model server answer."""
        log = (self.data / "runner.log").open("a")
        arguments = ["--log-folder", str(self.data / "logs"), "--", *command] if command else []
        self.runner = subprocess.Popen(
            [sys.executable, "-m", "config.runner", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        models = f"http://127.0.0.1:{int(self.environment['PORT']) + 1}/health"
        for address in (self.url, models):
            until(lambda address=address: answers(address), 120, f"{address} answers; see {self.data}/runner.log")

    def stop(self) -> None:
        assert self.runner is not None
        self.runner.terminate()
        self.runner.wait(30)

    def process(self, word: str) -> psutil.Process | None:
        """The process below the runner whose command line holds that word."""
        assert self.runner is not None
        for process in psutil.Process(self.runner.pid).children(recursive=True):
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
    (data / "secret-key").write_text(secrets.token_urlsafe(50))  # else several processes would make it at once
    return Site(f"http://127.0.0.1:{port}", data, {}, environment)


@contextmanager
def filled_site(data: Path, **variables: str) -> Iterator[Site]:
    """Two tiny models, prompts, answers, votes, and three people: anna and ben judge, rita manages. `variables` are its
    processes' own."""
    site = empty_site(data)
    site.environment |= variables
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
