"""Send figures to W&B, where WANDB_API_KEY is set, or WANDB_MODE=offline, and the package wandb is installed."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

from training.models import Metric, Run
from training.runs.trackers.tensorboard_files import numbers, short_options


def is_configured() -> bool:
    return bool(os.environ.get("WANDB_API_KEY")) or os.environ.get("WANDB_MODE") == "offline"


class WeightsAndBiases:
    """Follow each run by a run of W&B, whose id is made of ours: a background worker that starts again goes on."""

    name = "wandb"

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}

    def log(self, run: Run, rows: list[Metric]) -> str:
        """Send rows; return the address of the page. Rows that it has already are dropped there by their step."""
        theirs = self._open.get(run.pk)
        if theirs is None:
            theirs = self._open[run.pk] = self._begin(run)
        for row in rows:
            theirs.log(numbers(row), step=row.step)
        return theirs.url or ""

    def _begin(self, run: Run) -> Any:
        import wandb

        folder = settings.DATA_DIR / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "assay"),
            id=f"assay-{run.created_at:%Y%m%d%H%M%S}-{run.pk}",
            name=run.name,
            group=run.project.slug,
            job_type=run.kind,
            config=short_options(run),
            resume="allow",
            reinit="create_new",
            dir=str(folder),
            settings=wandb.Settings(silent=True, init_timeout=20, console="off", disable_git=True, save_code=False),
        )

    def finish(self, run: Run) -> None:
        """Close its run, with the exit code that says how ours ended."""
        theirs = self._open.pop(run.pk, None) or self._begin(run)
        theirs.finish(exit_code=int(run.state != Run.State.SUCCEEDED))

    def let_go(self, run: Run) -> None:
        """Close its run here: it goes on there once figures come again."""
        if (theirs := self._open.pop(run.pk, None)) is not None:
            theirs.finish()

    def close(self) -> None:
        """Let go of runs that go on: whoever starts next takes them up again."""
        for theirs in self._open.values():
            theirs.finish()
        self._open.clear()
