"""Get each step's episodes: drawn by the learner itself, or by processes beside it that may be a step behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from training.recipes.ppo.actor_pool import ActorPool, Draw, Part, join
from training.recipes.ppo.rollouts import PPO, Episodes
from training.recipes.ppo.state import State
from training.recipes.ppo.weights_handover import FOLDER, write_weights
from training.rl.rollout import rollout_of


class Source(Protocol):
    def episodes(self, state: State, step: int) -> Episodes:
        """Return the scored episodes of a step."""

    def prepare(self, state: State, step: int) -> None:
        """Have the episodes of the step to come drawn from now on, where the policy may be behind by then."""

    def figures(self) -> dict[str, float]:
        """Return figures of how the last step's episodes were drawn."""


class OwnRollouts:
    """Draw in the learner, between its updates."""

    def __init__(self, ppo: PPO) -> None:
        self.ppo = ppo

    def episodes(self, state: State, step: int) -> Episodes:
        return self.ppo.collect(self.ppo.prompt_order(step), seeds_of(self.ppo, step))

    def prepare(self, state: State, step: int) -> None:
        """Do nothing: the policy draws when it has learnt."""

    def figures(self) -> dict[str, float]:
        return {}


class ActorRollouts:
    """Have processes beside the learner draw.

    `state.drawn_by` are the weights that draw the next step's answers where they are a step behind; a checkpoint keeps
    them, so that a resumed run gets the same answers. The last step's are drawn by the weights as they are: they
    measure the model that is kept.
    """

    def __init__(self, ppo: PPO, pool: ActorPool) -> None:
        self.ppo, self.pool = ppo, pool
        self._parts: list[Part] = []
        self._staleness = 0

    def episodes(self, state: State, step: int) -> Episodes:
        ppo, order = self.ppo, self.ppo.prompt_order(step)
        if step == ppo.config.steps:
            state.drawn_by = {}
        self._staleness = 1 if state.drawn_by else 0
        with ppo.stage("sampling"):
            if self.pool.asked_step != step:
                self._ask(step, state.drawn_by or _current(ppo))
            self._parts = self.pool.collect()
        for part in self._parts:
            ppo.run.log_rollout(
                step, actor=part.actor, rows=[part.rows.start, part.rows.stop], version=part.version,
                drawn_at=step - self._staleness, seconds=part.seconds, deaths=part.deaths,
            )  # fmt: skip
        completions = join(self._parts, ppo.device)
        rollout = rollout_of([ppo.prompts[i] for i in order], completions, ppo.tokenizer.pad_token_id)
        assert completions.logprobs is not None
        drawn_logprobs = completions.logprobs[:, : rollout.mask.shape[1]]
        return ppo.score(order, [ppo.messages[i] for i in order], rollout, drawn_logprobs)

    def prepare(self, state: State, step: int) -> None:
        if not self.ppo.config.steps_behind or step >= self.ppo.config.steps:
            state.drawn_by = {}
            return
        state.drawn_by = {name: p.clone() for name, p in _current(self.ppo).items()}
        self._ask(step, state.drawn_by)

    def figures(self) -> dict[str, float]:
        return {
            "staleness": float(self._staleness),
            "seconds_actors": max(part.seconds for part in self._parts),
        }

    def _ask(self, step: int, weights: dict[str, Tensor]) -> None:
        """Hand the weights over and have the step's answers drawn; the files of older steps go."""
        ppo, folder = self.ppo, self.ppo.run.path / FOLDER
        handover = write_weights(folder, step, weights)
        for path in folder.glob("weights-*"):
            if str(path) != handover.path:
                path.unlink()
        prompts = [ppo.prompts[i] for i in ppo.prompt_order(step)]
        self.pool.ask(Draw(step, handover, prompts, seeds_of(ppo, step)))


@contextmanager
def source_of(ppo: PPO) -> Iterator[Source]:
    """Give the source that the config asks for; its processes end with the block."""
    if not ppo.config.actors:
        yield OwnRollouts(ppo)
        return
    folder = ppo.run.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left
    pool = ActorPool(ppo.run.path, ppo.config.actors, ppo.sampling, ppo.end_ids)
    try:
        yield ActorRollouts(ppo, pool)
    finally:
        pool.close()
        shutil.rmtree(folder, ignore_errors=True)


def seeds_of(ppo: PPO, step: int) -> list[int]:
    """Return the seeds of a step's answers, one for each row of its batch."""
    return ppo.seeds("rollout", step, count=ppo.config.batch_size)


@torch.no_grad()
def _current(ppo: PPO) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in ppo.policy.parameters().items()}
