"""Values of our own classes as bytes and back."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pytest

from evaluation.core.stored_values import Unreadable, read, written


class Name(NamedTuple):
    user: int | None
    text: str = ""


@dataclass(frozen=True)
class Box:
    names: dict[int, Name]
    numbers: np.ndarray
    rest: tuple


def test_a_value_comes_back_as_it_was():
    numbers = np.array([[1.5, np.nan], [0.1 + 0.2, np.inf]])
    rest = (
        None,
        True,
        np.float64(0.1),
        np.int64(3),
        [1, "@"],
        {"@": 2},
        frozenset({4}),
        datetime(2026, 1, 2, tzinfo=UTC),
    )
    box = read(written(Box({7: Name(None, "é")}, numbers, rest)), [Box, Name])
    assert box.names == {7: Name(None, "é")} and box.rest == rest and type(box.names[7]) is Name
    assert np.array_equal(box.numbers, numbers, equal_nan=True) and box.numbers.dtype == numbers.dtype


def test_another_version_or_another_class_is_unreadable():
    body = written(Name(1))
    for wrong, classes in ((body, []), (b"", [Name]), (body, [type("Name", (Box,), {})])):
        with pytest.raises(Unreadable):
            read(wrong, classes)
    with pytest.raises(TypeError):
        written(object())
