"""Which answers each step of finetuning takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from annotate.data.datasets.preferences import Comparison
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import finetuning
from training.recipes.reward.answers.sequences import Sequences


@pytest.mark.parametrize(("epochs", "steps"), [(0.4, 2), (1, 4), (2.5, 10)])
def test_each_epoch_takes_whole_prompts_once_in_an_order_of_its_own(epochs: float, steps: int):
    prompt_of = [5, 3, 5, 9, 3, 9, 7, 7, 1]  # nobody judged the answer to 1
    sequences = Sequences({p: [1] for p in prompt_of}, [[2]] * len(prompt_of), prompt_of)
    pairs = [Comparison(5, 0, 2, "model_a"), Comparison(3, 1, 4, "tie"), Comparison(9, 3, 5, "model_b")]
    observed = likelihood.observe([*pairs, Comparison(7, 6, 7, "model_a")], [], {row: row for row in range(9)})
    config = SimpleNamespace(epochs=epochs, batch_size=3)
    schedule = list(finetuning._schedule(sequences, observed, config, seed=4))
    assert len(schedule) == steps
    for begin in range(0, steps, 4):
        rows = schedule[begin : begin + 4]
        assert all(sorted(step) in ([0, 2], [1, 4], [3, 5], [6, 7]) for step in rows)
        assert len({step[0] for step in rows}) == len(rows)
    assert epochs < 2 or schedule[:4] != schedule[4:8]


def test_the_likelihoods_of_a_steps_parts_add_up_to_that_of_the_whole():
    """A part whose ties nobody called bad says as much of "both bad" as one whose ties somebody did."""
    winners = ["both_bad", "tie", "tie", "model_a"]
    comparisons = [Comparison(n, 2 * n, 2 * n + 1, winner) for n, winner in enumerate(winners)]
    observed = likelihood.observe(comparisons, [], {row: row for row in range(8)})
    scores = torch.tensor([0.5, -1.0, 2.0, 1.5, 0.3, 0.2, 0.9, -0.4], dtype=torch.float64)
    cuts = likelihood.split_cuts(likelihood.initial_cuts(observed)[0] + 0.1, observed)
    parts = [finetuning.annotations_of(observed, [2 * n, 2 * n + 1], 8) for n in range(4)]
    whole = likelihood.joint_nll(scores, observed, cuts)
    assert sum(likelihood.joint_nll(scores, part, cuts) for part in parts) == pytest.approx(whole.item())
