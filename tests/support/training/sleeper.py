"""A process for tests of the launcher: it writes its environment, says good morning and sleeps, with a child that
ignores SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training.core import parent_watchdog

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    (directory / "environment.json").write_text(json.dumps(dict(os.environ)))
    print("good morning")
    print("on the error stream", file=sys.stderr, flush=True)
    if (directory / "exit.txt").exists():
        sys.exit(int((directory / "exit.txt").read_text()))
    parent_watchdog.watch_parent(grace_seconds=0.5)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    (directory / "pids.partial").write_text(f"{os.getpid()} {child.pid}")
    (directory / "pids.partial").rename(directory / "pids.txt")
    time.sleep(120)
