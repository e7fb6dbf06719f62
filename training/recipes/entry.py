"""How a recipe starts and how it ends: `python -m training.recipes.<kind> RUN_DIR`.

Each recipe is a `main(run, spec)` and ends with `run_recipe(main)`. What it raises becomes `failure.json`, in
words and with a remedy; the traceback goes to the log. SIGTERM keeps its default action: whole files are written
under temporary names, so that dying at any moment leaves nothing half-written under a final one.
"""

from __future__ import annotations

import errno
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from training import configs, tether
from training.endings import DISK_FULL, NO_ROOM_FOR_WORDS
from training.run_directory import RecipeFailure, RunDirectory, RunSpec

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
    tether.watch_parent()
    run = RunDirectory(Path(arguments[0]).resolve())
    sys.exit(attempt(main, run))


def attempt(main: Main, run: RunDirectory) -> int:
    """One attempt at a run: its exit status. A run that has already ended well is left as it is."""
    if run.result() is not None:
        print(f"{run.path} has already ended well; nothing to do.")
        return 0
    (run.path / "failure.json").unlink(missing_ok=True)
    try:
        spec = run.spec()
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
    try:
        run.fail(failure)
    except OSError:
        return NO_ROOM_FOR_WORDS
    return 1


def config_of(spec: RunSpec) -> Any:
    """The recipe's validated hyperparameters, of the dataclass that `spec.kind` names."""
    try:
        return configs.parse(spec.kind, spec.config)
    except configs.ConfigError as error:
        raise RecipeFailure(
            "bad_config", f"The config is not valid: {error}", "Correct the fields it names."
        ) from error


def seed_everything(seed: int) -> None:
    """The seed of the run, in every generator a recipe may draw from."""
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


def describe(error: Exception) -> RecipeFailure:
    """What went wrong, for people. An exception nobody foresaw is `crashed`, with its own words."""
    if isinstance(error, RecipeFailure):
        return error
    text = str(error).strip()
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return RecipeFailure(
            "out_of_memory",
            "The machine has not enough memory for this run.",
            "Queue it again with changes: half the batch_size, shorter sequences, or adapters instead of every weight.",
        )
    if _is_for_want_of_space(error, text):
        return RecipeFailure(*DISK_FULL)
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = traceback.extract_tb(error.__traceback__)
    where = f" (in {Path(place[-1].filename).name}, line {place[-1].lineno})" if place else ""
    return RecipeFailure(
        "crashed",
        f"The recipe stopped on an error: {summary}{where}.",
        "The log has the traceback. Resume to try again.",
    )
