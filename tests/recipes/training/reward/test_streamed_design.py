"""A head fitted to features that are read from files in blocks is the head that is fitted to them in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from annotate.data.datasets.preferences import Comparison, Rating
from training.recipes.reward import annotator_effects, feature_choice, head_fit, pooled_parts
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.designs import stored_features
from training.recipes.reward.designs.design import Design, StreamedDesign
from training.recipes.reward.designs.shared_passes import SharedPasses
from training.recipes.reward.designs.stored_features import StoredFeatures, read_few
from training.recipes.reward.feedback_likelihood import Observations, Priors

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS, WIDTH = 60, 12
N = 2 * PROMPTS
TRAINING = torch.arange(N) < 90
FOLDS = torch.where(TRAINING, torch.arange(N) // 2 % 3, -1)


@pytest.fixture
def pooled() -> torch.Tensor:
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(1)) * 3 + torch.arange(WIDTH)


@pytest.fixture
def stored(pooled, tmp_path, monkeypatch) -> StoredFeatures:
    """The same features in three files, their rows in another order, blocks of a few rows."""
    monkeypatch.setattr(stored_features, "BLOCK", 7 * WIDTH)
    monkeypatch.setattr(stored_features, "GRAM_BLOCK", 11 * WIDTH)
    return written(pooled, tmp_path / "checkpoint")


def written(pooled: torch.Tensor, folder: Path) -> StoredFeatures:
    folder.mkdir()
    order = torch.randperm(len(pooled), generator=torch.Generator().manual_seed(2)).tolist()
    batches = [order[begin : begin + 10] for begin in range(0, len(pooled), 10)]
    for begin, end in ((0, 3), (3, 9), (9, len(batches))):
        rows = [row for batch in batches[begin:end] for row in batch]
        pooled_parts.save_part(pooled[rows], end, folder, None)
    return pooled_parts.open_features(folder, batches, len(pooled), pooled.shape[1])


@pytest.fixture
def observed(pooled) -> Observations:
    rng = np.random.default_rng(3)
    scores = ((pooled - pooled.mean(0)) @ torch.linspace(-0.3, 0.3, WIDTH)).numpy()
    apart = scores[::2] - scores[1::2] + rng.logistic(size=PROMPTS)
    comparisons = [
        Comparison(p, 2 * p, 2 * p + 1, "model_a" if gap > 0 else "model_b", author=1 + p % 3)
        for p, gap in enumerate(apart.tolist())
    ]
    ratings = [Rating(row, thumbs=bool(scores[row] > rng.logistic()), author=1 + row % 4 % 3) for row in range(0, N, 3)]
    return likelihood.observe(comparisons, ratings, {row: row for row in range(N)})


def designs(pooled: torch.Tensor, stored: StoredFeatures) -> tuple[Design, StreamedDesign]:
    rows = torch.nonzero(TRAINING)[:, 0]
    streamed = Design.of(stored, rows)
    assert isinstance(streamed, StreamedDesign)
    return Design.of(pooled, rows), streamed


def test_products_are_those_of_the_features_in_memory(pooled, stored):
    assert torch.equal(stored.whole(), pooled)
    some = stored.of([slice(8, 10), slice(0, 3)])
    assert torch.equal(some.whole(), pooled[:, [8, 9, 0, 1, 2]])
    weights = torch.randn(2, 5).double()
    products = weights @ pooled[:, [8, 9, 0, 1, 2]].double().T
    torch.testing.assert_close(some.times(weights), products)
    torch.testing.assert_close(some.times(weights, TRAINING), products * TRAINING)
    gradients = torch.randn(2, N).double()
    torch.testing.assert_close(stored.transposed_times(gradients, TRAINING), gradients * TRAINING @ pooled.double())


def test_a_head_and_its_losses_are_those_of_the_features_in_memory(pooled, stored, observed):
    whole, streamed = designs(pooled, stored)
    torch.testing.assert_close(streamed.spread, whole.spread, rtol=1e-5, atol=1e-3)
    heads = [head_fit.fit(d, observed.among(TRAINING), 0.3, tolerance=1e-12) for d in (whole, streamed)]
    torch.testing.assert_close(heads[1].weight, heads[0].weight, rtol=1e-3, atol=1e-5)
    for scores in (streamed.scores(heads[1]), heads[1].scores(stored), heads[1].scores(pooled)):
        torch.testing.assert_close(scores, whole.scores(heads[0]), rtol=1e-3, atol=1e-4)
    parts = head_fit.folds_of(observed, FOLDS)
    losses = [head_fit.held_out_loss(d, parts, 1.0)[0] for d in (whole, streamed)]
    torch.testing.assert_close(losses[1].losses, losses[0].losses, rtol=1e-2, atol=1e-3)
    assert losses[1].accuracy == losses[0].accuracy


def test_standard_errors_of_annotators_are_those_of_the_features_in_memory(pooled, stored, observed):
    priors, judged = Priors(1.0, 0.5), observed.among(TRAINING)
    rows = []
    for design in designs(pooled, stored):
        head = head_fit.fit(design, judged, 0.3, priors=priors, tolerance=1e-12)
        rows.append(annotator_effects.annotators(design, judged, head, 0.3, priors))
    for streamed, whole in zip(rows[1], rows[0], strict=True):
        assert streamed.reliability.upper == pytest.approx(whole.reliability.upper, rel=1e-2)
        assert streamed.severity_thumbs.lower == pytest.approx(whole.severity_thumbs.lower, rel=1e-2, abs=1e-3)


def test_folds_read_the_files_together(pooled, stored, observed, monkeypatch):
    _, design = designs(pooled, stored)
    alone: list[int] = []
    times = StoredFeatures.times
    monkeypatch.setattr(StoredFeatures, "times", lambda s, w, m=None: alone.append(len(w)) or times(s, w, m))
    head_fit.held_out_loss(design, head_fit.folds_of(observed, FOLDS), 1.0)
    assert alone[0] == 3 and alone[-1] == 3 and sum(n == 3 for n in alone) > len(alone) / 2


def test_scores_out_of_fold_start_from_the_heads_that_chose_the_penalty(pooled, stored, observed, monkeypatch):
    _, design = designs(pooled, stored)
    prompts = torch.arange(N) // 2
    candidates = head_fit.cross_validate(iter([((), design)]), observed, prompts, FOLDS)
    best = min(candidates, key=lambda c: c.nll)
    passes: list[int] = []
    times = StoredFeatures.times
    monkeypatch.setattr(StoredFeatures, "times", lambda s, w, m=None: passes.append(len(w)) or times(s, w, m))
    anew = head_fit.out_of_fold(design, observed, FOLDS, best.ridge)
    count = len(passes)
    started = head_fit.out_of_fold(design, observed, FOLDS, best.ridge, starts=best.heads)
    torch.testing.assert_close(started, anew, rtol=2e-2, atol=1e-2)
    assert len(passes) - count < count / 2


def test_a_fit_that_fails_lets_the_others_go_on(stored):
    everything = torch.ones(N, dtype=torch.bool)
    design = StreamedDesign(*(torch.zeros(0) for _ in range(4)), SharedPasses(stored))

    def fails(_design: Design) -> torch.Tensor:
        raise ArithmeticError("no optimum")

    def asks(own: Design) -> torch.Tensor:
        assert isinstance(own, StreamedDesign)
        return own.passes.times(torch.ones(WIDTH, dtype=torch.float64), everything)

    seen: list[torch.Tensor] = []
    with pytest.raises(ArithmeticError):
        design.run_each([lambda own: seen.append(asks(own)) or seen[-1], fails])
    torch.testing.assert_close(seen[0], stored.times(torch.ones(1, WIDTH, dtype=torch.float64))[0])


def test_few_features_are_read_at_once_and_many_are_not(stored, monkeypatch):
    assert isinstance(read_few(stored), torch.Tensor)
    monkeypatch.setattr(stored_features, "IN_MEMORY", N * WIDTH - 1)
    assert read_few(stored) is stored
    pooled = feature_choice.Pooled(stored, ((1, "mean"), (2, "mean")), 6)
    assert isinstance(pooled.of(((2, "mean"),)), torch.Tensor)


def test_a_file_of_another_dtype_is_refused(pooled, tmp_path):
    pooled_parts.save_part(pooled.half(), 1, tmp_path, None)
    with pytest.raises(ValueError, match="F16"):
        pooled_parts.open_features(tmp_path, [list(range(N))], N, WIDTH)
