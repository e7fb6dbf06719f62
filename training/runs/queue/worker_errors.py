"""Describe what an error that the worker met means for the run it was carrying out."""

from __future__ import annotations

import errno

from training.core.endings import DISK_FULL, Ending
from training.core.run_directory import RecipeFailure
from training.runs.queue.outputs import BadOutput


def describe_error(error: Exception) -> Ending:
    """Return the end of the run, in words and with a remedy."""
    if isinstance(error, RecipeFailure):
        return Ending.failed(error.code, error.message, error.remedy, changes=error.remedy_changes)
    if isinstance(error, BadOutput):
        return Ending.failed(
            "bad_output", f"The output of the recipe cannot be used: {error}", "Check the log, and queue the run again."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Ending.failed(*DISK_FULL)
    return Ending.failed(
        "worker_error",
        f"The worker stopped on an error: {type(error).__name__}: {error}",
        "The worker's own log has the traceback. Resume to try again.",
    )
