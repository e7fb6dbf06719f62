"""A decoding step as one graph: what it repeats is what the step itself would do. A graph of no GPU stands in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support.training.tiny_llama import llama
from training.rl.decode import LlamaDecoder
from training.rl.kept_states import KeptStates
from training.rl.sampler import Sampling, sample
from training.rl.step_graph import StepGraph

PROMPTS = [[5, 6, 7], [5, 9, 10, 11, 12], [5, 6, 7, 3, 3], [5, 13], [5, 14, 2], [5, 8, 8, 8, 8, 8, 8]]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch):
    """Let graphs be made of what `of(step graph, arrays)` names: recorded without an effect, and repeated at the same
    addresses or not at all."""
    made: list[Any] = []
    watched: dict[str, Any] = {}

    class Graph:
        def capture_begin(self, pool: Any, **_: Any) -> None:
            assert pool is None or pool in made  # the memory of the graph before
            self.before = [array.clone() for array in watched["arrays"]()]

        def capture_end(self) -> None:
            self.places = [array.data_ptr() for array in watched["arrays"]()]
            for array, before in zip(watched["arrays"](), self.before, strict=True):
                array.copy_(before)
            made.append(self)

        def pool(self) -> Any:
            return self

        def replay(self) -> None:
            graph = watched["graph"]
            assert [array.data_ptr() for array in watched["arrays"]()] == self.places
            graph._logits.copy_(watched["step"](graph._tokens, graph._at))

    class Stream:
        def wait_stream(self, other: Any) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())

    def of(graph: StepGraph, step: Any, arrays: Callable[[], list[torch.Tensor]]) -> list[Any]:
        watched.update(graph=graph, step=step, arrays=arrays)
        return made

    return of


def test_a_graph_does_what_the_step_would_and_is_made_anew_when_it_is_forgotten(graphs):
    count = torch.zeros(2)

    def step(tokens: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        count.add_(1)
        return tokens + 10 * column + 100 * count

    graph = StepGraph()
    made = graphs(graph, step, lambda: [count])
    for number in range(1, 7):
        if number == 5:
            graph.forget()
        assert graph(step, torch.tensor([number, 3]), number).tolist() == [111 * number, 110 * number + 3]
    assert len(made) == 2  # at the second step, and at the second one after it was forgotten


def test_a_step_that_no_graph_can_be_made_of_runs_as_it_is(graphs):
    calls: list[int] = []

    def step(tokens: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        calls.append(int(column))
        if len(calls) == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return tokens + column

    graph = StepGraph()
    graphs(graph, step, list)
    assert [int(graph(step, torch.tensor([1]), column)) for column in (4, 5, 6)] == [5, 6, 7]
    assert calls == [4, 5, 5, 6]  # the second was tried, and run


@pytest.mark.parametrize("most_rows", [6, 2])
def test_answers_drawn_by_graphs_are_those_drawn_without(graphs, most_rows: int):
    """Rows that end, give their place to others, or leave the batch; states that are kept meanwhile."""
    drawn = []
    for with_graph in (False, True):
        model = llama()
        decoder = LlamaDecoder(model)
        kept = KeptStates({1, 2}, len(PROMPTS), 40, 32, torch.float32, "cpu")
        if with_graph:
            decoder.graph = StepGraph()
            states = list(kept.states(40).values())
            made = graphs(
                decoder.graph,
                decoder._whole_step,
                lambda d=decoder, s=states: [*d.keys, *d.values, d.bias, d.next_position, d.sequences, *s],
            )
        answers = sample(
            decoder, PROMPTS, range(6), Sampling(30), end_ids=[1, 7, 19], pad_id=0, most_rows=most_rows, kept=kept
        )
        drawn.append([*vars(answers).values(), *kept.states(40).values()])
    assert len(made) >= 1
    for alone, by_graph in zip(*drawn, strict=True):
        torch.testing.assert_close(by_graph, alone)


def test_whatever_moves_what_a_step_reads_has_the_graph_made_anew():
    decoder, forgotten = LlamaDecoder(llama()), []
    decoder.graph = StepGraph()
    decoder.graph.forget = lambda: forgotten.append(True)  # type: ignore[method-assign]
    moves = (
        lambda: decoder.open(2, 8), lambda: decoder.select(torch.tensor([0])), lambda: decoder.refresh(0),
        decoder.close,
    )  # fmt: skip
    for number, move in enumerate(moves, 1):
        move()
        assert len(forgotten) == number
