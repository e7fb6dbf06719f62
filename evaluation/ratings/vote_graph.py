"""Test who can be compared with whom: the two conditions under which Bradley-Terry ratings exist."""

from __future__ import annotations

import numpy as np


def groups(linked: np.ndarray) -> np.ndarray:
    """Return (M,) group number of each model, joined by `linked` (M, M) in either direction; group 0 has the most
    models."""
    return strong_groups(linked | linked.T)


def strong_groups(beats: np.ndarray) -> np.ndarray:
    """Return (M,) group number by mutual reach: within one, everybody beat everybody else by some chain of votes.

    Ratings are finite exactly when a group of compared models is one such group (Ford, 1957). The largest group is 0,
    equal ones are in the order of their first member.
    """
    members_of: list[np.ndarray] = []
    is_left = np.ones(len(beats), dtype=bool)
    while is_left.any():
        first = int(is_left.argmax())
        together = _reached(beats, first) & _reached(beats.T, first)
        members_of.append(together)
        is_left &= ~together
    number = np.zeros(len(beats), dtype=np.int64)
    for index, together in enumerate(sorted(members_of, key=lambda members: -int(members.sum()))):  # a stable sort
        number[together] = index
    return number


def _reached(links: np.ndarray, start: int) -> np.ndarray:
    """Return (M,) whom a walk along `links` from `start` can reach, `start` included."""
    reached = np.zeros(len(links), dtype=bool)
    reached[start] = True
    while True:
        further = reached | links[reached].any(axis=0)
        if np.array_equal(further, reached):
            return reached
        reached = further
