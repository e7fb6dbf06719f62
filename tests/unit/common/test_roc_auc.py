"""The area under the ROC curve and its interval; thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from common import roc_auc


def test_the_area_is_the_share_of_pairs_in_order():
    draw = np.random.default_rng(0)
    normal, abnormal = draw.integers(0, 6, 40).astype(float), draw.integers(2, 9, 30).astype(float)
    pairs = [(a > n) + 0.5 * (a == n) for a in abnormal for n in normal]
    assert roc_auc.auc(normal, abnormal) == pytest.approx(np.mean(pairs))
    assert roc_auc.auc(normal, normal) == pytest.approx(0.5)
    assert roc_auc.auc(np.array([1.0]), np.array([2.0])) == 1


def test_no_overlap_is_not_certainty():
    found = roc_auc.with_interval(np.arange(20.0), np.arange(20.0) + 100)
    assert found.value == found.upper == 1 and 0.8 < found.lower < 0.95
    turned = roc_auc.with_interval(np.arange(20.0) + 100, np.arange(20.0))
    assert turned.value == turned.lower == 0 and turned.upper == pytest.approx(1 - found.lower, abs=1e-6)


def test_the_interval_holds_the_true_area_about_as_often_as_it_says():
    """Normal scores one deviation apart: the area is Phi(1 / sqrt 2) = 0.7602."""
    draw, held = np.random.default_rng(1), 0
    for _ in range(400):
        found = roc_auc.with_interval(draw.normal(size=30), draw.normal(size=40) + 1)
        held += found.lower <= 0.7602 <= found.upper
    assert 0.92 <= held / 400 <= 0.98


def test_more_texts_make_it_narrower():
    draw = np.random.default_rng(2)
    few, many = (roc_auc.with_interval(draw.normal(size=n), draw.normal(size=n) + 1) for n in (20, 500))
    assert many.upper - many.lower < 0.3 * (few.upper - few.lower)


def test_the_threshold_lets_no_more_than_its_share_through():
    normal = np.arange(100.0)
    bound = roc_auc.threshold(normal, 0.05)
    assert (normal > bound).sum() == 5
    assert roc_auc.threshold(np.arange(10.0), 0.05) == 9
    assert roc_auc.share_above(np.array([93.0, 95.0, 99.0]), bound).value == pytest.approx(2 / 3)
