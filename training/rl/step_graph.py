"""Replay a decoding step on a GPU as one CUDA graph: a step of thirty layers is some five hundred kernels of a few
microseconds each, and to launch them one by one takes longer than to run them.

A graph repeats what was done, to the same addresses. So a step reads and writes arrays that stay where they are, and
is told by arrays what differs from one step to the next; whoever moves them has the graph made anew (`forget`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]

_log = logging.getLogger(__name__)


class StepGraph:
    """Run a step, which takes tokens (B,) and the cache's column (1,) and returns logits (B, V): the first time as it
    is, which loads its kernels, from then on by a graph. A step that no graph can be made of runs as it is."""

    def __init__(self) -> None:
        self._can = True
        self._old: torch.cuda.CUDAGraph | None = None  # its memory serves the next one
        self._stream: torch.cuda.Stream | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: Tensor | None = None
        self._steps = 0

    def forget(self) -> None:
        """Make the graph anew: arrays that the step reads or writes lie elsewhere now."""
        self._old, self._graph, self._logits, self._steps = self._graph or self._old, None, None, 0

    def __call__(self, step: Step, tokens: Tensor, column: int) -> Tensor:
        at = torch.full((1,), column, device=tokens.device)
        self._steps += 1
        if not self._can or self._steps == 1:
            return step(tokens, at)
        if self._graph is None and not self._capture(step, tokens, at):
            return step(tokens, at)
        assert self._graph is not None and self._logits is not None
        self._tokens.copy_(tokens)
        self._at.copy_(at)
        self._graph.replay()
        return self._logits

    def _capture(self, step: Step, tokens: Tensor, at: Tensor) -> bool:
        """Record the step, which is not run by that. Return whether there is a graph now."""
        self._tokens, self._at = tokens.clone(), at.clone()
        self._stream = self._stream or torch.cuda.Stream()
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            # As `torch.cuda.graph` does, which also collects garbage and empties the allocator: longer than 20 steps.
            with torch.cuda.stream(self._stream):
                pool = None if self._old is None else self._old.pool()
                graph.capture_begin(pool, capture_error_mode="thread_local")
                try:
                    self._logits = step(self._tokens, self._at)
                finally:
                    graph.capture_end()
        except RuntimeError as error:  # it waits for the device, or copies from the host
            _log.warning("Decoding steps run one kernel at a time: no graph can be made of them (%s).", error)
            self._can, self._logits = False, None
            return False
        torch.cuda.current_stream().wait_stream(self._stream)
        self._graph, self._old = graph, None
        return True
