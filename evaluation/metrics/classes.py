"""F1 and Matthews' correlation of k classes, as functions of what was counted for each class.

The counts of one text are 3 k numbers: for each class whether it was rightly found, then for each whether it was
wrongly found, then for each whether it was missed. Division by nothing gives 0, as in scikit-learn.
"""

from __future__ import annotations

import numpy as np


def counts(true: int, predicted: int, classes: int) -> list[float]:
    """Return the counts of one text with the class `true` that was given the class `predicted`. Raises ValueError
    outside 0..classes-1."""
    if not (0 <= true < classes and 0 <= predicted < classes):
        raise ValueError(f"there are {classes} classes, and none of number {max(true, predicted)}.")
    row = [0.0] * (3 * classes)
    if true == predicted:
        row[true] = 1.0
    else:
        row[classes + predicted] = row[2 * classes + true] = 1.0
    return row


def counts_of_one(true: int, predicted: int, label: int) -> list[float]:
    """Return the three counts that the F1 of the one class `label` takes."""
    return [
        float(true == label == predicted),
        float(predicted == label != true),
        float(true == label != predicted),
    ]


def f1(totals: np.ndarray) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN) of one class: (..., 3) -> (...)."""
    right, wrong, missed = (totals[..., i] for i in range(3))
    return _ratio(2 * right, 2 * right + wrong + missed)


def macro_f1(totals: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the classes that were there or were found: (..., 3 k) -> (...)."""
    right, wrong, missed = np.split(totals, 3, axis=-1)
    size = 2 * right + wrong + missed
    return _ratio(_ratio(2 * right, size).sum(-1), (size > 0).sum(-1))


def matthews(totals: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation of k classes (Gorodkin 2004): (..., 3 k) -> (...), between -1 and 1."""
    right, wrong, missed = np.split(totals, 3, axis=-1)
    true, predicted, n = right + missed, right + wrong, (right + missed).sum(-1)
    covariance = right.sum(-1) * n - (true * predicted).sum(-1)
    spread = (n**2 - (true**2).sum(-1)) * (n**2 - (predicted**2).sum(-1))
    return _ratio(covariance, np.sqrt(spread))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=np.asarray(below) > 0)
