"""Set how many threads compute: one for small products, all for the few that are large."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from training.core.processor_share import usable_cores

_lock, _depth = threading.Lock(), [0]
_state: list[tuple[int, threadpool_limits]] = []


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread: thousands of products are too small to share, and threads that wait for each other cost
    tenfold.

    The count is the process's: of several that ask for one thread at a time the first sets it, the last sets it back.
    """
    with _lock:
        if not _depth[0]:
            _state.append((torch.get_num_threads(), threadpool_limits(limits=1)))
            torch.set_num_threads(1)
        _depth[0] += 1
    try:
        yield
    finally:
        with _lock:
            _depth[0] -= 1
            if not _depth[0]:
                threads, limits = _state.pop()
                limits.restore_original_limits()
                torch.set_num_threads(threads)


@contextmanager
def all_threads() -> Iterator[None]:
    """Run on all cores, inside `one_thread`, too: for products that are large enough to share."""
    threads = torch.get_num_threads()
    count = max(usable_cores(), threads)
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(threads)
