"""Who can be compared with whom: the two conditions under which Bradley-Terry ratings exist."""

from __future__ import annotations

import numpy as np


def groups(linked: np.ndarray) -> np.ndarray:
    """(M,) group number of each model, joined by `linked` (M, M) in either direction; group 0 has the most models."""
    return _numbered(_reach(linked | linked.T))


def strong_groups(beats: np.ndarray) -> np.ndarray:
    """(M,) group number by mutual reach: within one, everybody beat everybody else by some chain of votes.

    Ratings are finite exactly when a group of compared models is one such group (Ford, 1957).
    """
    reach = _reach(beats)
    return _numbered(reach & reach.T)


def _reach(links: np.ndarray) -> np.ndarray:
    """Transitive closure by repeated squaring: log2(M) products of M × M."""
    reach = (links | np.eye(len(links), dtype=bool)).astype(np.float32)
    while True:
        further = (reach @ reach > 0).astype(np.float32)
        if np.array_equal(further, reach):
            return reach > 0
        reach = further


def _numbered(together: np.ndarray) -> np.ndarray:
    """Class numbers of an equivalence relation, the largest class first, equal ones by their first member."""
    first = together.argmax(axis=1)
    order = sorted(set(first.tolist()), key=lambda member: (-int(together[member].sum()), member))
    number = {member: index for index, member in enumerate(order)}
    return np.array([number[member] for member in first.tolist()], dtype=np.int64)
