"""A process for tests of what a recipe is given and may do: it writes that down, and tries what it is told to."""

import json
import os
import resource
import sys
from pathlib import Path

NAMES = ("RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NPROC", "RLIMIT_CORE")


def main(directory: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    (directory / "seen.partial").write_text(
        json.dumps(
            {
                "environment": dict(os.environ),
                "umask": umask,
                "limits": {name: resource.getrlimit(getattr(resource, name)) for name in NAMES},
                "user": [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()],
            }
        )
    )
    (directory / "seen.partial").rename(directory / "seen.json")
    if (directory / "link.txt").exists():
        (directory / "stolen").symlink_to((directory / "link.txt").read_text())
    if (directory / "memory.txt").exists():
        bytearray(int((directory / "memory.txt").read_text()))
    if (directory / "file.txt").exists():
        with (directory / "large").open("wb") as file:
            file.truncate(int((directory / "file.txt").read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
