"""Each package that is used has a licence that fits Apache-2.0, or somebody has looked at it."""

from __future__ import annotations

import pytest

from tests.support.licences import LOOKED_AT, Package, is_allowed, names, packages, unfit


def test_the_licence_of_each_package_is_allowed_or_was_looked_at():
    pinned = packages()
    assert len(pinned) > 150, "the lock was read"
    assert not unfit(pinned), "allow it in tests/support/licences.py, with the reason, or use another package"


def test_nobody_was_looked_at_in_vain():
    assert set(LOOKED_AT) <= set(names())


@pytest.mark.parametrize(
    ("licence", "fits"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("AGPL-3.0-or-later", False),
        ("Other/Proprietary License", False),
        ("", False),
    ],
)
def test_an_expression_is_read_as_spdx_writes_it(licence, fits):
    assert is_allowed(licence) is fits
    assert bool(unfit([Package("made-up", "1", licence)])) is not fits


def test_a_licence_that_changed_is_looked_at_again():
    assert unfit([Package("psycopg", "4", "AGPL-3.0-only")])
