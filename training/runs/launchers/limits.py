"""Set limits on this process and become another program: `python limits.py DATA=1073741824 … -- PROGRAM [ARGUMENT…]`.

In a process of its own and not between fork and exec of the worker, whose other threads may hold locks then. It needs
nothing but Python's own library. A limit that is lower already stays.
"""

import os
import resource
import sys


def main(arguments: list[str]) -> None:
    end = arguments.index("--")
    for text in arguments[:end]:
        name, _, most = text.partition("=")
        set_limit(name, int(most))
    os.execv(arguments[end + 1], arguments[end + 1 :])


def set_limit(name: str, most: int) -> None:
    """Limit this process in what resource calls RLIMIT_`name`."""
    resource_id = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(resource_id)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(resource_id, (least, least))
    except ValueError:
        return  # a system that has no such limit, as macOS has none on memory


if __name__ == "__main__":
    main(sys.argv[1:])
