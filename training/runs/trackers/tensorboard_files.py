"""Write a run's figures as TensorBoard reads them: live, below ASSAY_DATA/tensorboard, and whole, as a download."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse

from annotate.core.asgi import downloads
from training import configs
from training.core.export_names import file_stem
from training.models import Metric, Run

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

NAME = "tensorboard"
_ROWS = 500


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


def download(request: HttpRequest, run: Run) -> StreamingHttpResponse:
    """Return one event file of all that was measured, made while it is sent; TensorBoard knows such files by their
    name."""
    name = f"events.out.tfevents.{int(run.created_at.timestamp())}.assay-{run.pk}"
    return downloads.download(request, parts(run), name=name, content_type="application/octet-stream")


def short_options(run: Run) -> dict[str, Any]:
    """Return the options of a run that may leave: not those that hold texts, such as a system prompt."""
    known = fields(configs.CONFIGS[run.kind]) if run.kind in configs.CONFIGS else ()
    texts = {field.name for field in known if field.metadata.get("multiline")}
    return {name: value for name, value in run.config.items() if name not in texts}


def parts(run: Run) -> Iterator[bytes]:
    """Yield an event file of all that was measured so far, some rows at a time."""
    last = 0
    with tempfile.TemporaryDirectory() as folder:
        writer = new_file(Path(folder))
        with next(Path(folder).iterdir()).open("rb") as file:
            while rows := list(run.metrics.filter(sequence__gt=last).order_by("sequence")[:_ROWS]):
                add(writer, rows)
                last = rows[-1].sequence
                yield file.read()
            writer.close()
            yield file.read()


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
        self.let_go(run)

    def let_go(self, run: Run) -> None:
        """Close the file: what comes next stands in another."""
        if (writer := self._open.pop(run.pk, None)) is not None:
            writer.close()

    def close(self) -> None:
        """Close all files."""
        for writer in self._open.values():
            writer.close()
        self._open.clear()
