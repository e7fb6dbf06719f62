"""Get each step's episodes: drawn by the learner itself, by processes beside it, or by a server on another host; the
latter two may be a step behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from training.core.run_directory import RecipeFailure
from training.recipes.common import loading, sharding
from training.recipes.ppo import held_out_score
from training.recipes.ppo.actor_pool import ActorPool, Draw, Part, join
from training.recipes.ppo.rollouts import PPO, Asked, Episodes
from training.recipes.ppo.server_pool import LOST, TRIES, RolloutServer, ServerPool
from training.recipes.ppo.state import State
from training.recipes.ppo.weights_handover import FOLDER, write_weights
from training.rl.rollout import rollout_of
from training.rl.sampler import Completions

Pool = ActorPool | ServerPool


class Source(Protocol):
    def episodes(self, state: State, step: int, *, looks: bool) -> tuple[Episodes, Episodes | None]:
        """Return the scored episodes of a step, and the answers to the held-out prompts where the step `looks` at them
        and they were drawn beside its own."""

    def prepare(self, state: State, step: int) -> None:
        """Have the episodes of the step to come drawn from now on, where the policy may be behind by then."""

    def figures(self) -> dict[str, float]:
        """Return figures of how the last step's episodes were drawn."""


class OwnRollouts:
    """Draw in the learner, between its updates."""

    def __init__(self, ppo: PPO) -> None:
        self.ppo = ppo

    def episodes(self, state: State, step: int, *, looks: bool) -> tuple[Episodes, Episodes | None]:
        of_step = Asked(self.ppo.prompt_order(step), seeds_of(self.ppo, step))
        episodes, *apart = self.ppo.collect_all([of_step, *(held_out_score.asked(self.ppo) if looks else [])])
        return episodes, apart[0] if apart else None

    def prepare(self, state: State, step: int) -> None:
        """Do nothing: the policy draws when it has learnt."""

    def figures(self) -> dict[str, float]:
        return {}


class ActorRollouts:
    """Have processes beside the learner draw, or a rollout server.

    `state.drawn_by` are the weights that draw the next step's answers where they are a step behind; a checkpoint keeps
    them, so that a resumed run gets the same answers. The last step's are drawn by the weights as they are: they
    measure the model that is kept.
    """

    def __init__(self, ppo: PPO, pool: Pool | None) -> None:
        """Take the pool, which the first of several processes has alone."""
        self.ppo, self.pool = ppo, pool
        self._parts: list[Part] = []
        self._staleness = 0

    def episodes(self, state: State, step: int, *, looks: bool) -> tuple[Episodes, Episodes | None]:
        ppo, together = self.ppo, self.ppo.together
        if step == ppo.config.steps:
            state.drawn_by = {}
        self._staleness = 1 if state.drawn_by else 0
        with ppo.stage("sampling"):
            if not together.from_first(lambda: self._asked_step() == step):
                self._ask(step, state.drawn_by or current_weights(ppo))
            drawn = together.from_first(self._collect)
        if drawn is None:
            return self._own_episodes(state, step, looks=looks)
        for part in self._parts:
            ppo.run.log_rollout(
                step, actor=part.actor, rows=[part.rows.start, part.rows.stop], version=part.version,
                drawn_at=step - self._staleness, seconds=part.seconds, deaths=part.deaths,
            )  # fmt: skip
        completions = Completions(**{name: tensor.to(ppo.device) for name, tensor in drawn.items()})
        order = ppo.prompt_order(step)
        rollout = rollout_of([ppo.prompts[i] for i in order], completions, ppo.tokenizer.pad_token_id)
        assert completions.logprobs is not None
        drawn_logprobs = completions.logprobs[:, : rollout.mask.shape[1]]
        return ppo.score(order, [ppo.messages[i] for i in order], rollout, drawn_logprobs), None

    def prepare(self, state: State, step: int) -> None:
        if not self.ppo.config.steps_behind or step >= self.ppo.config.steps:
            state.drawn_by = {}
            return
        state.drawn_by = {name: p.clone() for name, p in current_weights(self.ppo).items()}
        self._ask(step, state.drawn_by)

    def figures(self) -> dict[str, float]:
        return {
            "staleness": float(self._staleness),
            "seconds_actors": max((part.seconds for part in self._parts), default=0.0),
        }

    def _own_episodes(self, state: State, step: int, *, looks: bool) -> tuple[Episodes, Episodes | None]:
        """Draw in the learner, by its weights as they are, what the rollout server did not."""
        state.drawn_by, self._staleness = {}, 0
        started = time.perf_counter()
        found = OwnRollouts(self.ppo).episodes(state, step, looks=looks)
        self.ppo.run.log_rollout(
            step, actor="learner", rows=[0, self.ppo.config.batch_size], version="", drawn_at=step,
            seconds=time.perf_counter() - started, deaths=TRIES,
        )  # fmt: skip
        return found

    def _asked_step(self) -> int | None:
        assert self.pool is not None
        return self.pool.asked_step

    def _collect(self) -> dict[str, Tensor] | None:
        """Return the answers on the CPU; None where they are lost and the learner is to draw them."""
        assert self.pool is not None
        self._parts = []
        try:
            self._parts = self.pool.collect()
        except RecipeFailure as failure:
            if failure.code != LOST or self.ppo.config.rollout_server_lost != "local":
                raise
            return None
        return vars(join(self._parts, torch.device("cpu")))

    def _ask(self, step: int, weights: dict[str, Tensor]) -> None:
        """Hand the weights over and have the step's answers drawn; the files of older steps go."""
        ppo, folder = self.ppo, self.ppo.run.path / FOLDER
        if ppo.together.is_sharded:
            weights = sharding.gathered(weights, is_first=ppo.together.is_first)
        if self.pool is None:
            return
        handover = write_weights(folder, step, weights)
        for path in folder.glob("weights-*"):
            if str(path) != handover.path:
                path.unlink()
        prompts = [ppo.prompts[i] for i in ppo.prompt_order(step)]
        self.pool.ask(Draw(step, handover, prompts, seeds_of(ppo, step)))


@contextmanager
def source_of(ppo: PPO) -> Iterator[Source]:
    """Give the source that the config asks for; its processes end with the block."""
    if not ppo.config.draws_apart:
        yield OwnRollouts(ppo)
        return
    if not ppo.together.is_first:
        yield ActorRollouts(ppo, None)
        return
    folder = ppo.run.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left
    pool = _pool_of(ppo)
    try:
        yield ActorRollouts(ppo, pool)
    finally:
        pool.close()
        shutil.rmtree(folder, ignore_errors=True)


def _pool_of(ppo: PPO) -> Pool:
    config = ppo.config
    if not config.rollout_server:
        return ActorPool(ppo.run.path, config.actors, ppo.sampling, ppo.end_ids, config.rollout_timeout)
    run = {"config": ppo.spec.config, "seed": ppo.spec.seed, "parent": loading.weights_hash(ppo.spec.parent)}
    vocabulary = ppo.policy.model.config.vocab_size
    server = RolloutServer(config.rollout_server, config.rollout_timeout, run, vocabulary)
    return ServerPool(server, ppo.sampling, ppo.end_ids)


def seeds_of(ppo: PPO, step: int) -> list[int]:
    """Return the seeds of a step's answers, one for each row of its batch."""
    return ppo.seeds("rollout", step, count=ppo.config.batch_size)


@torch.no_grad()
def current_weights(ppo: PPO) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in ppo.policy.parameters().items()}
