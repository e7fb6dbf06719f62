"""Launch a recipe by accelerate: `python -m training.recipes.common.distributed ACCELERATE_YAML MODULE RUN_DIR`.

Runs accelerate's own launcher in this process and ends as its processes did: with the exit status of the one that
failed, or by the signal that killed it, so that a worker reads the end of several processes as that of one. The
processes are led by sessions of their own and do not inherit the parent watchdog; they watch this process instead.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from training.core import parent_watchdog


def main(arguments: list[str]) -> None:
    if len(arguments) != 3:
        print("Usage: python -m training.recipes.common.distributed ACCELERATE_YAML MODULE RUN_DIR", file=sys.stderr)
        sys.exit(2)
    config, module, directory = arguments
    parent_watchdog.watch_parent()
    os.environ.pop(parent_watchdog.ENVIRONMENT_NAME, None)
    os.environ[parent_watchdog.PARENT_NAME] = str(os.getpid())

    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    launch = launch_command_parser().parse_args(["--config_file", config, "--module", module, directory])
    try:
        launch_command(launch)
    except ChildFailedError as error:
        _end_like([failure.exitcode for failure in error.failures.values()])
    except SignalException as error:
        _die_of(error.sigval)


def _end_like(codes: list[int]) -> NoReturn:
    """End like the processes: a kill first, since the others fail for want of that process; SIGTERM last, since the
    launcher sends it to who is left."""
    killed = [code for code in codes if code < 0 and code != -signal.SIGTERM]
    if killed:
        _die_of(-killed[0])
    if failed_codes := [code for code in codes if code > 0]:
        sys.exit(failed_codes[0])
    _die_of(signal.SIGTERM)


def _die_of(number: int) -> NoReturn:
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # it did not die of it


if __name__ == "__main__":
    main(sys.argv[1:])
