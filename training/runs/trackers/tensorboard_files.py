"""Write a run's figures as TensorBoard reads them: live, below ASSAY_DATA/tensorboard, and whole, as a download."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpResponse
from django.utils.http import content_disposition_header

from training.core.export_names import file_stem
from training.models import Metric, Run

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

NAME = "tensorboard"


def folder_of(run: Run) -> Path:
    """Return where TensorBoard finds a run: `tensorboard --logdir ASSAY_DATA/tensorboard` lists them by project."""
    return settings.DATA_DIR / "tensorboard" / run.project.slug / f"{run.pk:06d}-{file_stem(run.name)}"


def add(writer: EventsWriter, rows: Iterable[Metric]) -> None:
    """Add these figures to an event file."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    for row in rows:
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in numbers(row).items()]
        event = Event(wall_time=row.time.timestamp(), step=row.step, summary=Summary(value=values))
        writer.write_event(event)
    writer.flush()


def new_file(folder: Path, suffix: str = "") -> EventsWriter:
    """Return a new event file: TensorBoard reads all of a folder's files, in order of their names, as one run."""
    from tensorboardX.event_file_writer import EventsWriter

    folder.mkdir(parents=True, exist_ok=True)
    return EventsWriter(str(folder / "events"), suffix)


def numbers(row: Metric) -> dict[str, float]:
    """Return what of a row is a number."""
    return {n: v for n, v in row.values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def event_file(run: Run) -> bytes:
    """Return one event file of all that was measured so far."""
    with tempfile.TemporaryDirectory() as folder:
        writer = new_file(Path(folder))
        add(writer, run.metrics.order_by("sequence").iterator())
        writer.close()
        return next(Path(folder).iterdir()).read_bytes()


def download(run: Run) -> HttpResponse:
    """Return the event file as a download; TensorBoard knows such files by their name."""
    name = f"events.out.tfevents.{int(run.created_at.timestamp())}.assay-{run.pk}"
    headers = {"Content-Disposition": content_disposition_header(as_attachment=True, filename=name)}
    return HttpResponse(event_file(run), content_type="application/octet-stream", headers=headers)


class TensorBoard:
    """Keep an event file for every run; one more each time the background worker starts, or the run is resumed."""

    name = NAME

    def __init__(self) -> None:
        self._open: dict[int, EventsWriter] = {}

    def log(self, run: Run, rows: list[Metric]) -> str:
        """Add rows; it has no page."""
        writer = self._open.get(run.pk)
        if writer is None:  # two of one second would have one name but for the suffix
            writer = self._open[run.pk] = new_file(folder_of(run), f".{rows[0].sequence:09d}")
        add(writer, rows)
        return ""

    def finish(self, run: Run) -> None:
        """Close the file."""
        if (writer := self._open.pop(run.pk, None)) is not None:
            writer.close()

    def close(self) -> None:
        """Close all files."""
        for writer in self._open.values():
            writer.close()
        self._open.clear()
