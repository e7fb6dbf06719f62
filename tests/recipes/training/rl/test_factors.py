"""Low-rank algebra against the matrices that the factors stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from training.rl.factors import Factors, concatenate, cosine, inner, negative, shrink


def update(seed: int, ranks: tuple[int, ...] = (4, 3)) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer.{i}": Factors(torch.randn(rank, 20, generator=generator), torch.randn(30, rank, generator=generator))
        for i, rank in enumerate(ranks)
    }


def flat(*updates) -> torch.Tensor:
    """All matrices of the sum of updates, one after the other."""
    names = sorted({name for u in updates for name in u})
    zero = torch.zeros(30, 20)
    return torch.cat([sum((u[n].product() if n in u else zero for u in updates), zero).flatten() for n in names])


def test_concatenated_factors_are_the_sum_and_their_ranks_add():
    x, y = update(0), update(1, (2,))
    both = concatenate(x, y)
    assert_close(flat(both), flat(x, y))
    assert [both[f"layer.{i}"].rank for i in range(2)] == [6, 3]


def test_cosine_and_inner_product_are_those_of_the_matrices():
    x, y = update(0), concatenate(update(1), update(0))
    assert inner(x, y) == pytest.approx(float(flat(x) @ flat(y)), rel=1e-5)
    assert cosine(x, y) == pytest.approx(float(torch.cosine_similarity(flat(x), flat(y), dim=0)), rel=1e-5)
    assert cosine(x, negative(x)) == pytest.approx(-1)
    assert cosine(x, {}) == 0
    assert cosine({}, {}) == 1


def test_shrinking_keeps_the_largest_directions_and_says_what_went():
    x = update(0, (6, 6))
    kept, lost = shrink(x, 2)
    for name, factors in kept.items():
        u, values, vh = torch.linalg.svd(x[name].product())
        assert_close(factors.product(), (u[:, :2] * values[:2]) @ vh[:2], atol=1e-4, rtol=1e-4)
    assert lost == pytest.approx(float((flat(kept) - flat(x)).norm() / flat(x).norm()), rel=1e-4)


def test_shrinking_what_fits_changes_nothing():
    kept, lost = shrink(update(0), 4)
    assert lost < 1e-6
    assert_close(flat(kept), flat(update(0)), atol=1e-4, rtol=1e-4)


def test_shrinking_by_share_spends_it_where_it_costs_least():
    large, small = update(0, (4,)), update(1, (1, 4))
    x = concatenate(large, {name: Factors(f.a * 1e-3, f.b) for name, f in small.items()})
    kept, lost = shrink(x, 64, share=1e-4)
    assert lost <= math.sqrt(1e-4)
    assert {name: f.rank for name, f in kept.items()} == {"layer.0": 4, "layer.1": 1}


def test_factors_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Factors(torch.zeros(2, 3), torch.zeros(3, 4))
