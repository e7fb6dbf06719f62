"""The client: all operations of the API, and long work followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import overload

import httpx

from assay_client import models
from assay_client.connection import Connection
from assay_client.errors import AssayError, WorkFailed
from assay_client.operations import Operations

Followed = models.Run | models.FileImport | models.Freeze | models.Experiment | models.Rounds
OnProgress = Callable[[str], object]
_FAILED = ("failed", "cancelled")
_ENDED = ("succeeded", "paused", "checked", "done", "decided", "stopped", *_FAILED)


class Assay(Operations):
    """One site, by one token: `assay.runs.list(project="demo")`, `assay.datasets.create(…)`, `assay.follow(…)`.

    `transport` is httpx's, for proxies and tests; `patience` is how long a figure that is being computed is waited for.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        tries: int = 5,
        patience: float = 600.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(
            url, token, timeout=timeout, tries=tries, patience=patience, transport=transport, sleep=sleep
        )
        super().__init__(self._connection)

    @classmethod
    def sign_in(
        cls, url: str, username: str, password: str, *, code: str | None = None, timeout: float = 60.0
    ) -> Assay:
        """Return a client with a new token of 90 days; `code` is the second factor's, if the account has one.

        A notebook that is kept should rather hold a token of a narrow scope: Your account → API tokens.
        """
        with cls(url, timeout=timeout) as visitor:
            token = visitor.auth.token(username=username, password=password, code=code).token
        return cls(url, token, timeout=timeout)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Assay:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @overload
    def follow(
        self,
        work: models.Run,
        *,
        on_progress: OnProgress | None = None,
        until: Collection[str] = ...,
        every: float = ...,
        timeout: float | None = ...,
    ) -> models.Run: ...
    @overload
    def follow(
        self,
        work: models.FileImport,
        *,
        on_progress: OnProgress | None = None,
        until: Collection[str] = ...,
        every: float = ...,
        timeout: float | None = ...,
    ) -> models.FileImport: ...
    @overload
    def follow(
        self,
        work: models.Experiment,
        *,
        on_progress: OnProgress | None = None,
        until: Collection[str] = ...,
        every: float = ...,
        timeout: float | None = ...,
    ) -> models.Experiment: ...
    @overload
    def follow(
        self,
        work: models.Rounds,
        *,
        on_progress: OnProgress | None = None,
        until: Collection[str] = ...,
        every: float = ...,
        timeout: float | None = ...,
    ) -> models.Rounds: ...
    @overload
    def follow(
        self,
        work: models.Dataset | models.Freeze,
        *,
        on_progress: OnProgress | None = None,
        until: Collection[str] = ...,
        every: float = ...,
        timeout: float | None = ...,
    ) -> models.Dataset: ...

    def follow(
        self,
        work: Followed | models.Dataset,
        *,
        on_progress: OnProgress | None = None,
        until: Collection[str] = (),
        every: float = 2.0,
        timeout: float | None = None,
    ) -> Followed | models.Dataset:
        """Wait until a run, import, freeze, experiment or rounds have ended, and return it; a freeze gives its dataset.

        `on_progress` is called with a line whenever there is news (`on_progress=print`). What is paused is returned:
        a run waits for `runs.choose`. `until` names further states to stop at: an experiment is `voting` for as long as
        people take. Asks every `every` seconds. Raises WorkFailed with reason and remedy where it failed or was
        cancelled, TimeoutError after `timeout` seconds; the work itself goes on.
        """
        if isinstance(work, models.Dataset):
            return work
        ends = time.monotonic() + timeout if timeout is not None else None
        told = ""
        while True:
            line = describe(work)
            if on_progress is not None and line != told:
                on_progress(line)
            told = line
            if work.state in _FAILED and work.state not in until:
                raise _failure(work)
            if work.state in _ENDED or work.state in until:
                return self._dataset_of(work) if isinstance(work, models.Freeze) and work.state == "done" else work
            if ends is not None and time.monotonic() + every > ends:
                raise TimeoutError(f"After {timeout:g} s: {line}. It goes on; follow it again later.")
            self._connection.sleep(every)
            work = self._again(work)

    def metrics(self, run: models.Run, after: int = 0) -> Iterator[models.Metric]:
        """Yield all that was measured in a run so far, in order, after that sequence number."""
        while rows := self.runs.metrics(run.id, after=after):
            yield from rows
            after = rows[-1].sequence

    def _again(self, work: Followed) -> Followed:
        if isinstance(work, models.Run):
            return self.runs.get(work.id)
        if isinstance(work, models.FileImport):
            return self.imports.get(work.id)
        if isinstance(work, models.Freeze):
            return self.dataset_freezes.get(work.id)
        if isinstance(work, models.Rounds):
            return self.rounds.get(work.project, work.id)
        return self.experiments.get(work.project, work.id)

    def _dataset_of(self, freeze: models.Freeze) -> models.Dataset:
        if freeze.dataset is None:
            raise AssayError(f"Freeze {freeze.id} is done and names no dataset; look at datasets.list().")
        return self.datasets.get(freeze.dataset)


def describe(work: Followed) -> str:
    """Return one line: what it is, its state, how far it is."""
    if isinstance(work, models.Run):
        how_far = f"{work.phase} {work.step:,} of {work.total_steps:,}" if work.total_steps else work.phase
        return _line(f"{work.kind} run {work.name!r}", work.state, how_far)
    if isinstance(work, models.FileImport):
        counts = ", ".join(f"{count:,} {name}" for name, count in work.counts.items() if count)
        return _line(f"import {work.source!r}", work.state, counts or f"{work.lines:,} lines")
    if isinstance(work, models.Freeze):
        return _line(f"dataset {work.name!r}", work.state, f"{work.stage} {work.percent} %".strip())
    what = "rounds" if isinstance(work, models.Rounds) else "experiment"
    return _line(f"{what} {work.name!r}", work.state, work.sentence)


def _line(what: str, state: str, how_far: str) -> str:
    return f"{what}: {state}, {how_far}" if how_far.strip() else f"{what}: {state}"


def _failure(work: Followed) -> WorkFailed:
    if isinstance(work, models.Run):
        return WorkFailed(work, work.state, work.reason, work.remedy)
    if isinstance(work, models.Experiment | models.Rounds):
        return WorkFailed(work, work.state, work.sentence)
    return WorkFailed(work, work.state, work.problem)
