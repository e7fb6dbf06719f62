"""Read a run directory into the database: metrics, samples and progress, each line once.

A resumed recipe cuts its logs back to its checkpoint and writes those steps again. The file is the truth: rows
that it no longer holds are dropped, and what the database holds already is not written twice.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import models

from training.core.run_directory import Row, RunDirectory
from training.models import Attempt, Metric, Run, Sample
from training.runs.queue.supervision import holding

_BATCH = 200  # rows of one transaction


@dataclass
class Tail:
    """Say how far one JSONL file has been read. A file that was replaced or cut is read from its beginning."""

    path: Path
    inode: int | None = None
    offset: int = 0

    def read(self) -> tuple[list[Row], bool, Tail]:
        """Return new complete lines, whether they are the file from its beginning, and the tail after them."""
        if not self.path.exists():
            return [], False, self
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            afresh = status.st_ino != self.inode or status.st_size < self.offset
            start = 0 if afresh else self.offset
            file.seek(start)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        rows = [json.loads(line) for line in complete.splitlines() if line.strip()]
        return rows, afresh, Tail(self.path, status.st_ino, start + len(complete))


@dataclass
class Reader:
    """Follow what one attempt writes."""

    attempt: Attempt
    directory: RunDirectory
    metrics: Tail = field(init=False)
    samples: Tail = field(init=False)
    progress_seen: Row | None = None

    def __post_init__(self) -> None:
        self.metrics = Tail(self.directory.path / "metrics.jsonl")
        self.samples = Tail(self.directory.path / "samples.jsonl")

    def ingest(self) -> bool:
        """Bring the database up to date; return whether there was anything new. Raises LeaseLost."""
        metric_rows, metrics_afresh, metrics = self.metrics.read()
        sample_rows, samples_afresh, samples = self.samples.read()
        progress = self.directory.current_progress()
        if not (metric_rows or metrics_afresh or sample_rows or samples_afresh) and progress == self.progress_seen:
            return False
        run_id = self.attempt.run_id
        self._store(Metric, [_metric(run_id, row) for row in metric_rows], metrics_afresh, ("step", "values"))
        self._store(Sample, [_sample(run_id, row) for row in sample_rows], samples_afresh, ("step", "completion"))
        if progress is not None and progress != self.progress_seen:
            with holding(self.attempt) as run:
                _store_progress(run, progress)
        self.metrics, self.samples, self.progress_seen = metrics, samples, progress
        return True

    def _store(self, model: type[models.Model], rows: list[Any], afresh: bool, compared: tuple[str, ...]) -> None:
        """Append, a few rows in each transaction; when the file was read from its beginning, first drop what it no
        longer says. Rows are compared before the lock: nobody but whoever holds the lease writes them."""
        stored = model._default_manager.filter(run=self.attempt.run_id)
        if afresh:
            new = {row.sequence: tuple(getattr(row, name) for name in compared) for row in rows}
            before = stored.order_by("sequence").values_list("sequence", *compared)
            first_gone = next((sequence for sequence, *values in before if new.get(sequence) != tuple(values)), None)
            if first_gone is not None:
                with holding(self.attempt):
                    stored.filter(sequence__gte=first_gone).delete()
            last = stored.order_by("-sequence").values_list("sequence", flat=True).first() or 0
            rows = [row for row in rows if row.sequence > last]
        for start in range(0, len(rows), _BATCH):
            with holding(self.attempt):
                model._default_manager.bulk_create(rows[start : start + _BATCH], ignore_conflicts=True)


def _metric(run_id: int, row: Row) -> Metric:
    values = {str(name): _finite(value) for name, value in row["values"].items()}
    time = datetime.fromtimestamp(row["time"], UTC)
    return Metric(run_id=run_id, sequence=row["sequence"], step=row["step"], values=values, time=time)


def _sample(run_id: int, row: Row) -> Sample:
    prompt = [{**turn, "content": storable(turn["content"])} for turn in row["prompt"]]
    return Sample(
        run_id=run_id,
        sequence=row["sequence"],
        step=row["step"],
        prompt=prompt,
        completion=storable(row["completion"]),
        score=_finite(row.get("score")),
        parts={storable(str(name)): _finite(value) for name, value in row.get("parts", {}).items()},
    )


def _store_progress(run: Run, progress: Row) -> None:
    eta, said_at = progress.get("eta_seconds"), datetime.fromtimestamp(progress["time"], UTC)
    ends_at = said_at + timedelta(seconds=min(eta, 10**8)) if eta is not None and math.isfinite(eta) else None
    Run.objects.filter(pk=run.pk).update(
        phase=str(progress["phase"])[:80], step=progress["step"], total_steps=progress["total"], ends_at=ends_at
    )


def _finite(value: Any) -> Any:
    """Return the value without NaN and infinity, which neither JSON nor the databases know."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def storable(text: str) -> str:
    """Return text that a database keeps: models now and then write a NUL or half a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
