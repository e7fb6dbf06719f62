"""Have a rollout server draw a step's answers: the part of `actor_pool` for who draws on another host.

Weights are sent whole, by their version; the answer must name that version and the ticket that was asked, and be of the
shape that was asked. A server that is silent, gone or gives something else is asked again with the same seeds; after
that the answers are lost, and the config says whether the run is.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from annotate.core.network import outbound
from training.configs.rollout_options import KEY_VARIABLE, URL_VARIABLE
from training.core.run_directory import RecipeFailure, Row
from training.recipes.ppo.actor_pool import Draw, Part
from training.recipes.ppo.rollout_actor import HEADER, request_of
from training.rl.sampler import Completions, Sampling

LOST, REFUSED_WEIGHTS = "rollout_server_lost", "weights_refused"
TRIES = 3
_HEALTH_SECONDS = 10.0
_PIECE = 2**20  # bytes of weights that are sent at once
_LONGEST = 2**28  # bytes of an answer: 20 million tokens with their log-probabilities


class NoAnswer(Exception):
    """Raised for an answer that is none. Its words say why."""


@dataclass(frozen=True)
class RolloutServer:
    """Say where to ask, for how long, and for which run: its config, seed, and the hash of its parent."""

    url: str
    seconds: float
    run: Row
    vocabulary: int


class ServerPool:
    """Ask a server for one step's answers at a time, while the learner does something else."""

    def __init__(self, server: RolloutServer, sampling: Sampling, end_ids: Sequence[int]) -> None:
        self.server, self.sampling, self.end_ids = server, sampling, list(end_ids)
        self._errand: _Errand | None = None

    @property
    def asked_step(self) -> int | None:
        """Return the step whose answers are being drawn."""
        return self._errand.draw.step if self._errand else None

    def ask(self, draw: Draw) -> None:
        """Have the answers of a step drawn; `collect` waits for them."""
        self._errand = _Errand(self, draw)
        self._errand.start()

    def collect(self) -> list[Part]:
        """Return the step that was asked, as one part. Raises RecipeFailure, LOST where the server gives no answer."""
        assert self._errand is not None
        errand, self._errand = self._errand, None
        errand.join()  # every request in it has an end
        if errand.failure is not None:
            raise errand.failure
        assert errand.part is not None
        return [errand.part]

    def close(self) -> None:
        """Do nothing: an errand that is still out ends with the process."""

    def fetch(self, draw: Draw) -> Part:
        """Return what the server draws. Raises RecipeFailure."""
        why = ""
        for number in range(TRIES):
            try:
                return self._try(draw, number)
            except outbound.TooLong as error:
                why = str(error)
            except outbound.Refused as error:
                raise RecipeFailure(
                    "rollout_server_refused", f"rollout_server: {error}",
                    f"Use a public address, or ask the operator to add this one to {outbound.VARIABLE}.",
                ) from error  # fmt: skip
            except (httpx.HTTPError, NoAnswer) as error:
                why = str(error) or type(error).__name__
            print(f"The rollout server gave no answers to step {draw.step}: {why}", file=sys.stderr, flush=True)
        raise RecipeFailure(
            LOST,
            f"The rollout server gave no answers in {TRIES} tries; the last one ended with: {why.rstrip('.')}.",
            "Check that it runs and can be reached, then resume: nothing is lost. With rollout_server_lost local, the "
            "learner draws such a step's answers itself.",
        )

    def _try(self, draw: Draw, number: int) -> Part:
        until = time.monotonic() + self.server.seconds
        with self._client() as client:
            self._body(client, "GET", "health", time.monotonic() + _HEALTH_SECONDS, timeout=_HEALTH_SECONDS)
            weights = Path(draw.weights.path)
            with weights.open("rb") as file:
                parts = iter(partial(file.read, _PIECE), b"")
                self._body(client, "PUT", f"weights/{draw.weights.version}", until, content=parts)
            ticket = {"step": draw.step, "rows": [0, len(draw.prompts)], "version": draw.weights.version}
            prompts = [list(prompt) for prompt in draw.prompts]
            asked = json.loads(request_of(ticket, draw.weights, prompts, list(draw.seeds), self.sampling, self.end_ids))
            head, body = self._body(client, "POST", "draw", until, json=asked | {"run": self.server.run})
        about = _about(head)
        if about.get("ticket") != ticket or about.get("version") != draw.weights.version:
            raise NoAnswer("its answer is to another request, or by other weights")
        completions = completions_of(body, len(prompts), self.sampling.max_new_tokens, self.server.vocabulary)
        rows = slice(0, len(prompts))
        return Part(0, rows, draw.weights.version, float(about["seconds"]), number, completions)

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        url = self.server.url.rstrip("/")
        is_bound = os.environ.get(URL_VARIABLE, "").rstrip("/") == url
        with outbound.client(
            url, allowed=outbound.read_list(os.environ.get(outbound.VARIABLE, "")),
            timeout=httpx.Timeout(_HEALTH_SECONDS, read=self.server.seconds, write=self.server.seconds),
            key=os.environ.get(KEY_VARIABLE, "") if is_bound else "",
        ) as client:  # fmt: skip
            yield client

    def _body(
        self, client: httpx.Client, method: str, path: str, until: float, **options: Any
    ) -> tuple[httpx.Headers, bytes]:
        """Return headers and body of an answer. Raises NoAnswer, or RecipeFailure for what the server says is wrong."""
        with client.stream(method, path, **options) as response:
            body = outbound.body_of(response, _LONGEST, until=until)
        if response.status_code in (401, 403):
            raise RecipeFailure(
                "rollout_server_key", "The rollout server refused the key.",
                f"Ask the operator to set {KEY_VARIABLE} and {URL_VARIABLE} as the server has them, then resume.",
            )  # fmt: skip
        if response.status_code == 422:
            failure = _failure(body)
            if failure.code == REFUSED_WEIGHTS:
                raise NoAnswer(failure.message)
            raise failure
        if not response.is_success:
            raise NoAnswer(f"HTTP {response.status_code}")
        return response.headers, body


class _Errand(threading.Thread):
    """Fetch one step's answers; the process does not wait for it at its end."""

    def __init__(self, pool: ServerPool, draw: Draw) -> None:
        super().__init__(daemon=True, name=f"rollouts of step {draw.step}")
        self.pool, self.draw = pool, draw
        self.part: Part | None = None
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self.part = self.pool.fetch(self.draw)
        except Exception as error:
            self.failure = error


def completions_of(body: bytes, rows: int, longest: int, vocabulary: int) -> Completions:
    """Return the answers in a body. Raises NoAnswer where they are not `rows` answers of at most `longest` tokens."""
    try:
        tensors = load(body)
        done = Completions(**tensors)
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise NoAnswer(f"its answer cannot be read: {type(error).__name__}") from error
    shapes = {"tokens": (rows, longest), "logprobs": (rows, longest), "lengths": (rows,), "finished": (rows,)}
    if any(tuple(tensors[name].shape) != shape for name, shape in shapes.items()):
        raise NoAnswer("its answers are not as many, or not as long, as was asked")
    if not _is_possible(done, longest, vocabulary):
        raise NoAnswer("its answers hold numbers that are no tokens, lengths or log-probabilities")
    return done


def _is_possible(done: Completions, longest: int, vocabulary: int) -> bool:
    assert done.logprobs is not None
    dtypes = (done.tokens.dtype, done.lengths.dtype, done.finished.dtype, done.logprobs.dtype)
    if dtypes != (torch.int64, torch.int64, torch.bool, torch.float32):
        return False
    return bool(
        ((done.tokens >= 0) & (done.tokens < vocabulary)).all()
        and ((done.lengths >= 1) & (done.lengths <= longest)).all()
        and torch.isfinite(done.logprobs).all()
        and (done.logprobs <= 1e-3).all()
    )


def _about(headers: httpx.Headers) -> Row:
    try:
        about = json.loads(headers.get(HEADER, ""))
        return about if isinstance(about, dict) and isinstance(about.get("seconds"), float) else {}
    except ValueError:
        return {}


def _failure(body: bytes) -> RecipeFailure:
    """Return what the server says went wrong. Raises NoAnswer where it says nothing."""
    try:
        row = json.loads(body)["failure"]
        return RecipeFailure(str(row["code"]), str(row["message"]), str(row["remedy"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NoAnswer("HTTP 422 without a reason") from error
