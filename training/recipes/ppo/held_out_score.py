"""Score prompts that PPO never trains on: has it learnt the prompts or the taste?

A tenth of the prompts, drawn by the run's seed, is in no batch and not in the calibration. Now and then the policy
answers them, with the same seeds each time; the gap is the score on the step's own batch less this one. The first of
these answers are the samples that a run shows. Where one process draws for itself and has room, they are drawn beside
the batch: by themselves 16 took nearly as long as a batch of 32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scipy.special import stdtrit  # the quantile of Student's t; all of scipy.stats takes a second to import

from training.recipes.ppo.rollouts import PPO, Asked, Episodes
from training.recipes.ppo.state import State

FEWEST = 2  # prompts that give an interval


@dataclass(frozen=True)
class Mean:
    """Mean, deviation and number of scores of answers to different prompts."""

    value: float
    std: float
    count: int

    @property
    def variance(self) -> float:
        return self.std**2 / max(self.count, 1)


@dataclass(frozen=True)
class HeldOut:
    """Hold the answers to the held-out prompts and figures of them; neither where there are too few."""

    figures: dict[str, float] = field(default_factory=dict)
    episodes: Episodes | None = None


def asked(ppo: PPO) -> list[Asked]:
    """Return the held-out prompts as what is to be answered; nothing where they are too few."""
    count = len(ppo.held_out)
    if count < FEWEST:
        return []
    return [Asked(list(range(count)), ppo.seeds("held-out prompts", count=count), held_out=True)]


def measure(ppo: PPO, state: State, batch: dict[str, float], drawn: Episodes | None = None) -> HeldOut:
    """Return the answers to the held-out prompts of the policy that drew the step's batch, and figures of them.

    `batch` are the figures of that batch; `drawn` the answers where they were drawn beside it.
    """
    wanted, count = asked(ppo), len(ppo.held_out)
    if not wanted:
        return HeldOut()
    trained = Mean(batch["score_mean"], batch["score_std"], ppo.config.batch_size)
    episodes = drawn
    if episodes is None:
        with state.as_drawn(ppo):
            episodes = next(ppo.collect_all(wanted))
    scores = state.calibration.scaled(episodes.scores, episodes.rollout, ppo.config)
    apart = Mean(float(scores.mean()), float(scores.std()), count)
    figures = {"held_out_score": apart.value, "held_out_gap": trained.value - apart.value}
    if interval := gap_interval(trained, apart):
        figures["held_out_gap_lower"], figures["held_out_gap_upper"] = interval
    return HeldOut(figures, episodes)


def gap_interval(trained: Mean, apart: Mean) -> tuple[float, float] | None:
    """Return the 95 % interval of the difference of two means of unlike deviations (Welch 1947).

    None where no score differs from another of its side: then nothing is known of how others would.
    """
    difference, variance = trained.value - apart.value, trained.variance + apart.variance
    if not variance:
        return None
    parts = trained.variance**2 / max(trained.count - 1, 1) + apart.variance**2 / max(apart.count - 1, 1)
    reach = float(stdtrit(variance**2 / parts, 0.975)) * math.sqrt(variance)
    return difference - reach, difference + reach
