"""Start and end a recipe: `python -m training.recipes.<kind> RUN_DIR`.

Each recipe is a `main(run, spec)` and ends with `run_recipe(main)`. What it raises becomes `failure.json`, in
words and with a remedy; the traceback goes to the log. SIGTERM keeps its default action: whole files are written
under temporary names, so that dying at any moment leaves nothing half-written under a final one.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from training import configs
from training.core import parent_watchdog, step_ledger
from training.core.endings import DISK_FULL, NO_MEMORY, NO_ROOM_FOR_WORDS
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

Main = Callable[[RunDirectory, RunSpec], None]


def run_recipe(main: Main, argv: list[str] | None = None) -> None:
    """Run `main` on the run directory that the command line names, and exit: 0 well, 1 failed, 2 called wrongly."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or not (Path(arguments[0]) / "config.json").is_file():
        print(
            "Name one run directory that holds a config.json: python -m training.recipes.<kind> RUN_DIR",
            file=sys.stderr,
        )
        sys.exit(2)
    # With nothing but the default action, SIGTERM ends the process even inside a long torch call.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent_watchdog.watch_parent()
    run = RunDirectory(Path(arguments[0]).resolve())
    sys.exit(attempt(main, run))


def attempt(main: Main, run: RunDirectory) -> int:
    """Attempt a run once; return its exit status. A run that has already ended well is left as it is."""
    if run.result() is not None:
        print(f"{run.path} has already ended well; nothing to do.")
        run.remove_needed_on_the_way()
        return 0
    if os.environ.get("RANK", "0") == "0":  # of several processes, another may already have said what went wrong
        (run.path / "failure.json").unlink(missing_ok=True)
    try:
        spec = run.spec()
        if os.environ.get("RANK", "0") == "0":
            step_ledger.note(run.path.name, "start")
        seed_everything(spec.seed)
        main(run, spec)
    except Exception as error:
        return _fail(run, error)
    return 0


def _fail(run: RunDirectory, error: Exception) -> int:
    failure = describe(error)
    with suppress(OSError):  # a full disk takes no log either
        traceback.print_exception(error)
        print(f"{failure.code}: {failure.message} {failure.remedy}", file=sys.stderr)
    if failure.code == "crashed" and run.failure() is not None:
        return 1  # of several processes: one knew why it failed, and this one fell over its absence
    try:
        run.fail(failure)
    except OSError:
        return NO_ROOM_FOR_WORDS
    return 1


def config_of(spec: RunSpec) -> Any:
    """Return the recipe's validated hyperparameters, of the dataclass that `spec.kind` names."""
    try:
        return configs.parse(spec.kind, spec.config)
    except configs.ConfigError as error:
        raise RecipeFailure("bad_config", f"The config is not valid: {error}", "Correct these fields.") from error


def prompts_of(run: RunDirectory, remedy: str) -> list[Row]:
    """Return the prompts of a run. Raises RecipeFailure with this remedy when it has none."""
    prompts = run.rows("prompts")
    if not prompts:
        raise RecipeFailure("no_prompts", "The run has no prompts.", remedy)
    return prompts


def seed_everything(seed: int) -> None:
    """Seed every generator that a recipe may draw from with the run's seed."""
    random.seed(seed)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    if torch is not None:
        torch.manual_seed(seed)


def _is_for_want_of_space(error: Exception, text: str) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors hands the system's words on; torch.save only notices that less was written than it meant to write.
    return any(words in text for words in ("No space left on device", "Disk quota exceeded", "unexpected pos"))


def _is_for_want_of_memory(error: Exception, text: str) -> bool:
    """Return whether memory was short: Python's own MemoryError, numpy's, torch's on processor and GPU, and the
    system's refusals."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    lower = text.lower()
    phrases = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "cublas_status_alloc")
    return any(words in lower for words in phrases)


def describe(error: Exception) -> RecipeFailure:
    """Return what went wrong, for people. An exception nobody foresaw is `crashed`, with its own words."""
    if isinstance(error, RecipeFailure):
        return error
    text = str(error).strip()
    if _is_for_want_of_memory(error, text):
        return RecipeFailure(*NO_MEMORY)
    if _is_for_want_of_space(error, text):
        return RecipeFailure(*DISK_FULL)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return RecipeFailure(
            "file_limit",
            "A file would exceed the size that the operator allows for recipes.",
            "Write smaller files, or ask the operator to raise ASSAY_RECIPE_FILE_GB; then resume.",
        )
    if isinstance(error, FileNotFoundError) and error.filename:
        return RecipeFailure(
            "missing_file",
            f"A file that the run needs is missing: {error.filename}.",
            "Restore it and resume; somebody may have moved or deleted a checkpoint, a model or a dataset.",
        )
    if isinstance(error, IndexError) and "index out of range in self" in text:
        return RecipeFailure(
            "tokenizer_mismatch",
            "The tokenizer does not match the model: it produces a token id that the model does not have.",
            "Use a model with the tokenizer that it was trained with; import it again if you are not sure.",
        )
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    location = f" (in {Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return RecipeFailure(
        "crashed",
        f"The recipe stopped with an error: {summary}{location}.",
        "The log has the traceback. Resume to try again.",
    )
