"""The rules by which rounds stop, on numbers worked out by hand."""

import math

import pytest

from evaluation.rounds.stop_rules import Gain, has_drifted, power, standard_error


def test_no_gain_is_an_interval_that_ends_below_the_gain_of_the_plan():
    assert Gain(400, 5.0, -30.0, 40.0).excludes(50) and not Gain(400, 30.0, -10.0, 70.0).excludes(50)
    assert Gain(400, -60.0, -100.0, -20.0).excludes(50), "what got worse has not gained"
    assert not Gain(400, 5.0, None, None).excludes(50), "one person's votes say nothing of others"
    assert Gain(9, 60.0, 10.0, 110.0).is_found and not Gain(9, 60.0, -1.0, 121.0).is_found


def test_power_is_that_of_a_normal_estimate():
    assert standard_error(400) == pytest.approx(173.72 * 2 / 20, rel=1e-4)
    assert power(400, 1.959964 * standard_error(400)) == pytest.approx(0.5, abs=1e-6)
    assert power(1600, 50) > 0.99 > power(400, 50) > 0.8 > power(100, 50)
    assert power(400, (1.959964 + 1) * standard_error(400)) == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))))


def test_drift_goes_by_the_estimate():
    assert has_drifted(0.49, 0.5) and not has_drifted(0.5, 0.5) and not has_drifted(0.1, None)
