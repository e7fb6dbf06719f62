"""Find out whether the system killed a recipe for want of memory: SIGKILL alone does not say who sent it, nor why.

The kernel counts such kills for each control group (v2: memory.events; v1: memory.oom_control), and for the whole
machine in /proc/vmstat. A count that rose while the recipe lived, or a recipe that was seen to hold nearly all there
is, speaks for it; a SIGKILL without either is somebody's hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_NEARLY_ALL = 0.85  # of the limit: it was still growing when it was last looked at
_A_LOT = 0.1  # whoever holds this much while the kernel kills for memory is most likely whom it chose
_GROUPS = Path("/sys/fs/cgroup")
_COUNTS = (
    *(_GROUPS / "memory.events", _GROUPS / "memory" / "memory.oom_control"),
    Path("/proc/vmstat"),
)
_LIMITS = (_GROUPS / "memory.max", _GROUPS / "memory" / "memory.limit_in_bytes")


@dataclass(frozen=True)
class Watch:
    """The count of kills when the recipe began, and how much memory there is for it."""

    kills: int
    limit: int

    @classmethod
    def begin(cls) -> Watch:
        return cls(kills(), limit())

    def was_for_want_of_memory(self, held_bytes: int) -> bool:
        """Return whether a killed process, which held `held_bytes` at most, died for want of memory."""
        share = held_bytes / self.limit if self.limit else 0.0
        return share >= _NEARLY_ALL or (share >= _A_LOT and kills() > self.kills)


def kills() -> int:
    """Return how often the kernel has killed for want of memory here, as far as this machine tells."""
    return sum(_oom_kills(path) for path in _COUNTS)


def limit() -> int:
    """Return what this process and its children may hold together: the control group's limit, else the machine's
    memory."""
    machine = psutil.virtual_memory().total
    limits = [int(text) for path in _LIMITS if (text := _text(path).strip()).isdecimal()]
    return min([machine, *(value for value in limits if value > 0)])


def _oom_kills(path: Path) -> int:
    lines = (line.split() for line in _text(path).splitlines())
    return sum(int(words[1]) for words in lines if len(words) == 2 and words[0] == "oom_kill")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # another system, or another version of control groups
        return ""
