"""What PPO's human review puts before people."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.training.ppo_runs import carry_out, make_run, same_weights
from training.recipes.common import entry
from training.recipes.engine import policy_engine
from training.recipes.ppo import __main__ as ppo
from training.rl.sampler import Sampling

SERVED = {"max_new_tokens": 10, "temperature": 0.7, "top_p": 0.95, "top_k": 0}
ROLLOUTS = {**SERVED, "temperature": 1.0, "top_p": 1.0}
REVIEWS = {"review_every": 1, "steps": 3, "review_samples": 3}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, int]]:
    """(how, how many answers) of each draw."""
    found: list[tuple[dict, int]] = []
    original = policy_engine.sample

    def sample(decoder, prompts, seeds, sampling: Sampling, **rest):
        found.append((vars(sampling), len(prompts)))
        return original(decoder, prompts, seeds, sampling, **rest)

    monkeypatch.setattr(policy_engine, "sample", sample)
    return found


def test_both_answers_of_a_pair_are_drawn_as_they_would_be_served(tmp_path: Path, model: Path, drawn):
    run = carry_out(make_run(tmp_path, model, **REVIEWS))
    rows = run.reviews()
    assert len(rows) == 2 * 3 and all(row["sampling"] == SERVED for row in rows)
    served = [count for how, count in drawn if how == SERVED]
    assert served == [8, 3, 3], "eight of the parent at once, and three of the policy at each review"
    # the calibration at once, one batch at each of four steps, and samples at two of them
    assert [count for how, count in drawn if how == ROLLOUTS][:2] == [8, 4]


@pytest.mark.thorough
def test_a_run_that_an_earlier_version_began_draws_them_as_its_parents_were(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, **REVIEWS)
    original = ppo.save_checkpoint

    def save(trainer, optimiser, state) -> None:
        original(trainer, optimiser, state)
        if state.step == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo, "save_checkpoint", save)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(ppo.main, run)
    path = run.latest_checkpoint() / "state.pt"
    saved = torch.load(path, weights_only=True)
    for row in saved["answers"]:
        del row["sampling"]
    torch.save(saved, path)
    assert {tuple(row["sampling"].items()) for row in carry_out(run).reviews()} == {tuple(ROLLOUTS.items())}


def test_reviews_change_no_weight(tmp_path: Path, model: Path):
    asked, silent = (carry_out(make_run(tmp_path / str(n), model, **REVIEWS | {"review_every": n})) for n in (1, 0))
    assert asked.reviews() and not silent.reviews() and same_weights(asked, silent)
