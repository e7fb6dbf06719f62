"""A process of several, for tests of the launcher: it says which it is, and sleeps."""

import os
import sys
import time
from pathlib import Path

from training.core import parent_watchdog

if __name__ == "__main__":
    parent_watchdog.watch_parent(grace_seconds=0.5)
    directory = Path(sys.argv[-1])
    (directory / "rank.partial").mkdir(exist_ok=True)
    mine = directory / "rank.partial" / os.environ["RANK"]
    mine.write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {os.environ['WORLD_SIZE']}")
    mine.rename(directory / f"rank-{os.environ['RANK']}.txt")
    if (directory / "exit.txt").exists():
        sys.exit(int((directory / "exit.txt").read_text()))
    time.sleep(120)
