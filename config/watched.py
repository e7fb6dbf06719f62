"""Run a Python program in this process, and end it when the runner that started it is gone.

`python -m config.watched manage.py run_worker` or `python -m config.watched -m uvicorn …`. No shell or wrapper
stands between the runner and the program, so that killing one of them never leaves the other behind.
"""

from __future__ import annotations

import runpy
import sys

from training.core import parent_watchdog


def main(arguments: list[str]) -> None:
    if not arguments or arguments == ["-m"]:
        sys.exit("Name a program: python -m config.watched (-m MODULE | FILE) [ARGUMENT…]")
    parent_watchdog.watch_parent()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
