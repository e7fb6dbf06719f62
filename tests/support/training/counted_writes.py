"""Carry out a recipe, and end it with signal 9 just before one of its writes in the run directory.

`python -m tests.support.training.counted_writes RUN_DIR RECIPE [WRITE]`: WRITE is the number of a write since this
start, or the name of what is written. What was written goes to `RUN_DIR-writes`, a name a line, when the recipe ends.
Between two writes nothing on the disk changes, so kills just before them stand for kills at any moment. What Python
does not tell of, lines added to a file that stays open and what safetensors or SQLite write, is met before and after.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support.training.killing import main_of
from training.recipes.common.entry import run_recipe

# The event of Python's audit hooks, and which of its arguments is the path that is changed.
_CHANGES = {"os.rename": 1, "os.mkdir": 0, "os.rmdir": 0, "os.remove": 0, "os.truncate": 0, "shutil.rmtree": 0}


class Writes:
    """Note what is written below a folder; end the process when it comes to `last`."""

    def __init__(self, folder: Path, last: str) -> None:
        self.names: list[str] = []
        self._root, self._last = f"{folder}/", last

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an event of Python's, where it is a write."""
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in _CHANGES:
            path = arguments[_CHANGES[event]]
        else:
            return
        if not isinstance(path, (str, os.PathLike)) or not (name := os.fspath(path)).startswith(self._root):
            return
        self.names.append(name.removeprefix(self._root))
        if self._last in (str(len(self.names)), self.names[-1]):
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, recipe, last = Path(sys.argv[1]).resolve(), sys.argv[2], "".join(sys.argv[3:])
    carry_out = main_of(recipe)
    writes = Writes(folder, last)
    listing = folder.with_name(f"{folder.name}-writes")
    atexit.register(lambda: listing.write_text("".join(f"{name}\n" for name in writes.names), encoding="utf-8"))
    sys.addaudithook(writes.note)
    run_recipe(carry_out, [str(folder)])


if __name__ == "__main__":
    main()
