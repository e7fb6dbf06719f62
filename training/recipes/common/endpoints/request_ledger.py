"""Every request to an endpoint, in a file: when it goes out, and what became of it. So nothing paid is forgotten."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

from annotate.core.chat_api.asking import may_be_billed
from training.core.run_directory import Row, append_whole, drop_torn_line, read_lines


class Ledger:
    """Write requests.jsonl: a line when a request goes out, and one when it has ended without an answer.

    `answered_requests` are those whose answers are in completions.jsonl: that file alone says what has arrived.
    """

    def __init__(self, path: Path, answered_requests: set[int]) -> None:
        self.path, self._lock = path, threading.Lock()
        self.ends: Counter[str] = Counter()  # of this and earlier attempts
        asked_requests: set[int] = set()
        ended_requests: set[int] = set()
        for row in read_lines(path):
            (asked_requests if row["state"] == "asked" else ended_requests).add(row["request"])
            self.ends[row["state"]] += 1
        self.requests = max(asked_requests | answered_requests, default=0)
        # lost: the run was killed before they were kept
        self.ends["lost"] = len(asked_requests - ended_requests - answered_requests)

    def __enter__(self) -> Ledger:
        drop_torn_line(self.path)
        self._file = self.path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, request: int, state: str) -> None:
        with self._lock:
            self.ends[str(state)] += 1
            append_whole(self._file, json.dumps({"request": request, "state": str(state)}) + "\n")

    @property
    def may_be_billed(self) -> int:
        """Return how many requests without an answer here the server may have answered all the same."""
        return self.ends["lost"] + sum(number for state, number in self.ends.items() if may_be_billed(state))


def append_rows(path: Path, rows: list[Row]) -> None:
    drop_torn_line(path)
    with path.open("ab", buffering=0) as file:
        append_whole(file, "".join(json.dumps(row) + "\n" for row in rows))
