"""Train and measure with torch: programs of one process each, that know a run directory and nothing else.

OpenMP's threads spin while they wait for each other. Beside a web server and a worker on two cores that costs a factor
of ten (17 token steps of 32 rows: 20-46 s spinning, 2-4 s waiting). To sleep at once costs, too: some hundred short
parallel regions follow each other in a step, and each would wake the threads anew. So a thread looks 10,000 times, some
tenths of a millisecond, before it sleeps: a step of 16 rows took 46 ms and not 55, and on a machine that others kept
busy 116 and not 144. libgomp reads both when torch loads.

A step makes and frees the same arrays again and again. glibc gives them back to the system each time and gets them
anew, zeroed page by page: 260,000 pages in a step of PPO. It is told to keep them.
"""

import contextlib
import ctypes
import os

# What Apple's GPUs lack, the processor computes; torch reads it when it loads.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of malloc.h


def _keep_freed_memory() -> None:
    """Let malloc keep what is freed, up to arrays of 32 MB; nothing where it is not glibc's, or a person has set it."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_MMAP_THRESHOLD, 2**25), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)):
            mallopt(option, value)


_keep_freed_memory()
