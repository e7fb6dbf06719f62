"""Numbers as people read them: no zero has a sign."""

from __future__ import annotations

import pytest

from evaluation.core import number_formats


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [(2.834, "2.83", "+2.83"), (-0.031, "−0.03", "−0.03"), (-0.001, "0.00", "0.00"), (0.004, "0.00", "0.00")],
)
def test_nats_have_two_digits_and_a_zero_has_no_sign(value, plain, signed):
    assert (number_formats.nats(value), number_formats.signed_nats(value)) == (plain, signed)


def test_a_rating_that_rounds_to_nothing_has_no_sign():
    assert [number_formats.signed(value) for value in (-0.2, 0.2, -8.2, 12.3)] == ["0", "0", "−8", "+12"]
