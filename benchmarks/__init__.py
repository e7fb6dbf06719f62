"""Measurements that a reader can repeat, each by `python -m benchmarks.NAME`.

One that is asked to end, as by `timeout`, ends as by Ctrl-C: with all servers and processes that it has started.
"""

from __future__ import annotations

import signal
import sys

if sys.argv[0] == "-m":  # started, and not imported by a test
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
