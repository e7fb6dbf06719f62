"""Show the progress of a turn: bars with an end time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from annotate.models import LanguageModel
from evaluation.demo.pace import Taken, seconds_left
from evaluation.demo.plan import Report, Stage
from evaluation.demo.progress_file import Tell
from evaluation.models import Leaderboard

SILENCE_SECONDS = 30.0  # between two plain lines of one stage


@dataclass(frozen=True)
class _Phase:
    """Hold what a stage counts at the moment: of how many, and how many were done when it was first heard of."""

    total: int
    first_done: int
    begun: float  # seconds of the monotonic clock

    def seconds_left(self, done: int) -> float | None:
        """Return what the phase still needs at its pace so far; None before it has done anything."""
        if done <= self.first_done:
            return None
        return (time.monotonic() - self.begun) / (done - self.first_done) * (self.total - done)


class Screen:
    """Show stages one after another. `stages` is all of them, for the end time of the whole.

    What it shows it tells the pages, too: `tell` is called with the stage's title, its place, how many there are, and
    the end of the whole.
    """

    def __init__(self, console: Console, stages: tuple[Stage, ...], tell: Tell | None = None) -> None:
        self.console = console
        self._stages = stages
        self._tell = tell
        self._left = list(stages)
        self._taken: list[Taken] = []
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._progress:
            yield

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Report]:
        task = self._progress.add_task(stage.title, total=None, note="")
        started = last = time.monotonic()
        phase = _Phase(0, 0, started)
        if not self.console.is_terminal:
            self.console.print(f"{stage.title} …")

        def report(done: int, total: int, note: str, ends_at: datetime | None) -> None:
            nonlocal last, phase
            if total != phase.total or done < phase.first_done:
                phase = _Phase(total, done, time.monotonic())
            own_seconds = phase.seconds_left(done)
            if ends_at is not None:
                own_seconds = max(0.0, (ends_at - timezone.now()).total_seconds())
            end = self._whole_ends(stage, started, own_seconds)
            if self._tell:
                self._tell(stage.title, self._stages.index(stage) + 1, len(self._stages), end)
            words = f"{note}, the turn ends about {end.astimezone():%H:%M}".strip(", ")
            self._progress.update(task, completed=done, total=total or None, note=words)
            if not self.console.is_terminal and time.monotonic() - last > SILENCE_SECONDS:
                last = time.monotonic()
                self.console.print(f"  {done} of {total or '?'}: {words}")

        report(0, 0, "", None)
        try:
            yield report
        finally:
            self._left.remove(stage)
            self._taken.append(Taken(stage.seconds, time.monotonic() - started))
            self._task, self._started = task, started

    def finished(self, summary: str) -> None:
        took = f"{time.monotonic() - self._started:.0f} s"
        self._progress.update(self._task, total=1, completed=1, note=f"{summary} ({took})")
        if not self.console.is_terminal:
            self.console.print(f"  {summary} ({took})")

    def _whole_ends(self, stage: Stage, started: float, own_seconds: float | None) -> datetime:
        """Return when the whole turn should end: this stage by its own progress, those to come by this machine's
        pace."""
        later = [other.seconds for other in self._left if other is not stage]
        left = seconds_left(self._taken, stage.seconds, time.monotonic() - started, own_seconds, later)
        return timezone.now() + timedelta(seconds=left)


def leaderboard_table(board: Leaderboard) -> Table:
    """Return the leaderboard, with how each model stands to its parent."""
    names = dict(LanguageModel.objects.values_list("id", "name"))
    table = Table(
        title=f"Leaderboard: {board.votes} votes of simulated annotators on eval prompts, 95 % intervals",
        title_justify="left",
    )
    for heading in ("rank", "model", "rating", "battles", "less its parent"):
        table.add_column(heading, justify="left" if heading == "model" else "right", overflow="fold")
    for row in board.ratings["rows"]:
        parent_difference = row["against"]
        ranks = str(row["rank"]) if row["rank"] == row["worst_rank"] else f"{row['rank']}–{row['worst_rank']}"
        table.add_row(
            ranks,
            names[row["model"]],
            f"{row['rating']:.0f} [{row['lower']:.0f}, {row['upper']:.0f}]",
            str(row["battles"]),
            f"{parent_difference['difference']:+.0f} [{parent_difference['lower']:+.0f}, "
            f"{parent_difference['upper']:+.0f}]"
            if parent_difference
            else "",
        )
    return table
