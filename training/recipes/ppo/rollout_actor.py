"""Draw answers for a PPO run, in a process of its own: `python -m training.recipes.ppo.rollout_actor RUN_DIR FD N`.

The learner starts it (`training.recipes.ppo.actor_pool`) with N threads, and asks over a socket that it inherits, FD. A
request names the weights by file and version, prompts as token ids and a seed for each; the answer has tokens, their
log-probabilities under what drew them, and the version again. It keeps nothing but the model, so that a successor gives
the same answer to the same request. It writes nothing into the run directory, and ends when the learner does.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from multiprocessing.connection import Connection

import torch
from safetensors.torch import load, save

from training.core import parent_watchdog
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.common import loading, memory
from training.recipes.common.entry import config_of, describe
from training.recipes.engine.policy_engine import dtype_of, policy_of
from training.recipes.ppo.weights_handover import Handover, read_weights
from training.rl.decode import decoder_for
from training.rl.sampler import Completions, Sampling, sample

MODULE = "training.recipes.ppo.rollout_actor"
HEADER = "X-Assay-Rollout"  # what is said about an answer, where it comes by HTTP


class Actor:
    """Hold the model that draws, and which version of its weights it has."""

    def __init__(self, spec: RunSpec) -> None:
        config = config_of(spec)
        model, tokenizer = loading.load_policy(spec.parent, dtype_of(config))
        self.policy = policy_of(model, spec, config, with_reference=False)
        self.decoder = decoder_for(model, exact_below=self.policy.trained_from)  # as the learner's
        self.device, self.pad_id = next(model.parameters()).device, tokenizer.pad_token_id
        self.version = ""

    def draw(self, request: Row) -> Completions:
        """Return what a request asks for. Raises RecipeFailure where its weights are not those that it names."""
        handover = Handover(**request["weights"])
        if handover.version != self.version:
            self.version = ""  # of half-read weights there is none
            read_weights(handover, self.policy.parameters())
            self.decoder.refresh(self.policy.trained_from)
            self.version = handover.version
        prompts, sampling = request["prompts"], Sampling(**request["sampling"])
        return sample(
            self.decoder, prompts, request["seeds"], sampling, end_ids=request["end_ids"], pad_id=self.pad_id,
            device=self.device,
            most_rows=memory.rows_at_once(self.policy.model, self.device, prompts, sampling.max_new_tokens),
        )  # fmt: skip


def request_of(
    ticket: Row, weights: Handover, prompts: list[list[int]], seeds: list[int], sampling: Sampling, end_ids: list[int]
) -> bytes:
    """Return a request in bytes. `ticket` comes back with the answer."""
    asked = {"prompts": prompts, "seeds": seeds, "end_ids": end_ids}
    return json.dumps(
        {"ticket": ticket, "weights": vars(weights), "sampling": dataclasses.asdict(sampling), **asked}
    ).encode()


def read_answer(connection: Connection) -> tuple[Row, Completions | None]:
    """Return what an actor says about its answer, and the answer; None where it says `failure`. Raises EOFError or
    OSError when the actor is gone."""
    about = json.loads(connection.recv_bytes())
    return about, None if "failure" in about else Completions(**load(connection.recv_bytes()))


def serve(actor: Actor, connection: Connection) -> None:
    """Answer requests until the learner closes its end."""
    while True:
        request = json.loads(connection.recv_bytes())
        started = time.perf_counter()
        try:
            completions = actor.draw(request)
        except Exception as error:
            _send(connection, {"ticket": request["ticket"], "failure": describe(error).row})
            continue
        about = {"ticket": request["ticket"], "version": actor.version, "seconds": time.perf_counter() - started}
        _send(connection, about)
        connection.send_bytes(save({name: t.cpu().contiguous() for name, t in vars(completions).items()}))


def _send(connection: Connection, about: Row) -> None:
    connection.send_bytes(json.dumps(about).encode())


def main(arguments: list[str]) -> None:
    directory, descriptor, threads = arguments
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent_watchdog.watch_parent(0.0)  # it has nothing to bring to an end
    torch.set_num_threads(int(threads))  # as many as the learner's: sums are added up in the same order
    connection = Connection(int(descriptor))
    try:
        try:
            actor = Actor(RunDirectory(directory).spec())
        except Exception as error:
            _send(connection, {"ticket": None, "failure": describe(error).row})
            return
        serve(actor, connection)
    except (EOFError, OSError):
        return  # the learner has closed its end


if __name__ == "__main__":
    main(sys.argv[1:])
