"""Read a file once for several fits at a time: each asks for a product, and one pass answers all of them.

Fits that run side by side, a thread each, wait for each other at every product. So five folds read what one would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from training.recipes.reward.designs.stored_features import StoredFeatures

T = TypeVar("T")


@dataclass(eq=False)
class _Question:
    is_transposed: bool
    vector: Tensor
    wanted: Tensor
    answer: Tensor | None = None
    error: BaseException | None = None


@dataclass(eq=False)
class SharedPasses:
    """Answer products with `features` for `askers` threads: when all that still run have asked."""

    features: StoredFeatures
    askers: int = 1
    _open: list[_Question] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def times(self, weight: Tensor, wanted: Tensor) -> Tensor:
        """Return (N,): the features times `weight` (F,) in the `wanted` rows. Differentiable, twice."""
        product: Tensor = _Product.apply(weight, wanted, self, False)
        return product

    def run(self, task: Callable[[], T]) -> T:
        """Return what a task gives that asks; others no longer wait for it when it has ended."""
        try:
            return task()
        finally:
            with self._changed:
                self.askers -= 1
                self._answer_when_all_wait()

    def ask(self, is_transposed: bool, vector: Tensor, wanted: Tensor) -> Tensor:
        question = _Question(is_transposed, vector.detach(), wanted)
        with self._changed:
            self._open.append(question)
            self._answer_when_all_wait()
            self._changed.wait_for(lambda: question.answer is not None or question.error is not None)
        if question.error is not None:
            raise question.error
        assert question.answer is not None
        return question.answer

    def _answer_when_all_wait(self) -> None:
        if not self._open or len(self._open) < self.askers:
            return
        questions, self._open = self._open, []
        for is_transposed in (False, True):
            alike = [q for q in questions if q.is_transposed == is_transposed]
            if not alike:
                continue
            try:
                self._answer(alike, is_transposed)
            except BaseException as error:
                for question in alike:
                    question.error = error
        self._changed.notify_all()

    def _answer(self, questions: list[_Question], is_transposed: bool) -> None:
        wanted = torch.stack([q.wanted for q in questions]).any(0)
        vectors = torch.stack([q.vector for q in questions])
        if is_transposed:
            vectors *= torch.stack([q.wanted for q in questions])
        product = self.features.transposed_times if is_transposed else self.features.times
        for question, answer in zip(questions, product(vectors, wanted), strict=True):
            question.answer = answer


class _Product(torch.autograd.Function):
    """The gradient of a product is one with the transposed features, and the other way round."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, wanted: Tensor, passes: SharedPasses, is_transposed: bool) -> Tensor:
        ctx.wanted, ctx.passes, ctx.is_transposed = wanted, passes, is_transposed
        return passes.ask(is_transposed, vector, wanted)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return _Product.apply(gradients[0], ctx.wanted, ctx.passes, not ctx.is_transposed), None, None, None
