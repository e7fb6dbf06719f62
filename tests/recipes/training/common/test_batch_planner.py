"""How a batch is split to fit the memory, and that a run keeps to its first choice."""

from __future__ import annotations

import pytest
import torch

from tests.support import tiny_model
from training.core import batch_planner
from training.core.run_directory import RecipeFailure
from training.recipes.common import loading
from training.recipes.common.features import completion_states, decoder_layers
from training.recipes.sft.examples import Example
from training.recipes.sft.trained_model import Student
from training.rl.lora import add_adapters
from training.rl.packed import packed_rows

SMALL = batch_planner.Shape(
    layers=30, hidden=576, inner=1536, heads=9, key_heads=3, head_dim=64, dtype_bytes=2, packed=True
)
GB = 10**9


def plan(
    available: float, checkpointing: str = "auto", longest: int = 500, most: int = 1024, row: int | None = None
) -> batch_planner.Plan:
    return batch_planner.plan(
        SMALL, learnt=5_000_000, longest=longest, batch_tokens=4000, available=available, most=most,
        checkpointing=checkpointing, row=row,
    )  # fmt: skip


def test_with_room_activations_are_kept_and_the_machine_is_filled():
    assert plan(16 * GB) == batch_planner.Plan(1024, False, plan(16 * GB).bytes)
    assert plan(16 * GB, most=16_384).tokens == 4000  # no more than the batch holds


def test_with_less_room_fewer_tokens_go_at_once_then_activations_are_computed_twice():
    tokens = [plan(share * GB / 10) for share in range(5, 17)]
    assert any(p.recompute for p in tokens)
    assert [p.recompute for p in tokens] == sorted((p.recompute for p in tokens), reverse=True)
    assert all(p.tokens >= 500 for p in tokens)
    assert all(p.bytes <= batch_planner.SHARE * share * GB / 10 for p, share in zip(tokens, range(5, 17), strict=True))


def test_checkpointing_may_be_asked_for_or_refused():
    assert plan(16 * GB, "on").recompute
    assert not plan(1.1 * GB, "off").recompute
    assert plan(16 * GB, "on").bytes < plan(16 * GB, "off").bytes


@pytest.mark.parametrize(("checkpointing", "word"), [("auto", "max_length"), ("off", "activation_checkpointing")])
def test_what_cannot_fit_is_refused_with_figures_and_a_remedy(checkpointing, word):
    with pytest.raises(RecipeFailure) as refused:
        plan(0.15 * GB, checkpointing)
    assert refused.value.code == "does_not_fit"
    assert "500 tokens" in str(refused.value)
    assert "0.12 GB" in str(refused.value)
    assert word in refused.value.remedy


def test_one_long_example_is_never_split():
    assert plan(16 * GB, longest=3000).tokens == 3000
    assert batch_planner.micro_batches([5, 90, 7], 20, padded=False) == [[1], [2, 0]]


def test_a_pair_of_long_answers_takes_the_attention_of_each_and_not_of_both_together():
    assert plan(16 * GB, longest=4000, row=2000).bytes == plan(16 * GB, longest=2000, most=4000).bytes
    assert plan(6.5 * GB, "off", longest=4000, row=2000).tokens == 4000
    with pytest.raises(RecipeFailure):
        plan(6.5 * GB, "off", longest=4000)


def test_micro_batches_hold_everything_once_within_the_limit():
    lengths = [(i * 37) % 91 + 5 for i in range(50)]
    for padded in (True, False):
        groups = batch_planner.micro_batches(lengths, 200, padded=padded)
        assert sorted(i for group in groups for i in group) == list(range(50))
        for group in groups:
            size = len(group) * max(lengths[i] for i in group) if padded else sum(lengths[i] for i in group)
            assert size <= 200


def test_the_first_choice_stands(tmp_path):
    assert batch_planner.remembered(tmp_path, "plan", lambda: {"tokens": 7}) == {"tokens": 7}
    assert batch_planner.remembered(tmp_path, "plan", lambda: {"tokens": 9}) == {"tokens": 7}
    assert batch_planner.remembered(tmp_path, "dtype", lambda: "float32") == "float32"
    assert batch_planner.remembered(tmp_path, "plan", lambda: None) == {"tokens": 7}


@pytest.mark.parametrize("is_packed", [True, False])
def test_the_estimate_is_near_what_backward_is_seen_to_keep(tmp_path, is_packed):
    model, _ = loading.load_policy(tiny_model.make(tmp_path / "tiny"), torch.float32)
    student = Student(model, "lora", rank=4, seed=0, dtype=torch.float32)
    student.is_packed = is_packed
    tokens, kept = 120, {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    example = Example("", [i % 90 for i in range(tokens)], [False] * (tokens - 1) + [True])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        student.loss([example], 1.0)
    estimated = student.shape().bytes_per_token(tokens, recompute=False) * tokens
    assert 0.6 < sum(kept.values()) / estimated < 1.6


@pytest.mark.parametrize(("prompt", "answer", "count"), [(0, 120, 1), (0, 700, 1), (90, 30, 2), (600, 16, 24)])
def test_the_answers_to_a_prompt_are_counted_within_a_tenth_of_what_is_kept(tmp_path, prompt, answer, count):
    """A reward model's pass, and that of DPO: the prompt is computed once, and stands beside each answer."""
    model, _ = loading.load_policy(tiny_model.make(tmp_path / "tiny"), torch.float32)
    model.requires_grad_(False)
    add_adapters(decoder_layers(model), 1, 2.0, seed=0)
    texts = [[(7 * n + 3 * i) % 90 for i in range(answer)] for n in range(count)]
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        completion_states(model, [[i % 90 for i in range(prompt)]], [texts], [3], pad=0)
    shape = batch_planner.shape_of(model.config, layers=3, dtype_bytes=4, packed=True)
    assert sum(kept.values()) == pytest.approx(shape.bytes_of_answers(prompt, answer, count), rel=0.1)
    if count == 1:
        assert shape.bytes_of_answers(0, answer, 1) == pytest.approx(
            answer * shape.bytes_per_token(answer, recompute=False), rel=0.01
        )


def test_blocks_of_queries_are_as_long_as_those_of_packed_layers():
    assert batch_planner.QUERIES == packed_rows.QUERIES


def test_even_batches_are_nearly_equal_and_leave_no_small_rest():
    lengths = [67] * 16
    assert batch_planner.even_batches(lengths, 1024) == [list(range(16))]  # 1,072 tokens
    groups = batch_planner.even_batches([70, 60] * 32, 1024)
    assert sorted(index for group in groups for index in group) == list(range(64))
    assert [sum([70, 60][i % 2] for i in group) for group in groups] == [1040] * 4
    assert batch_planner.even_batches([3000, 5], 1024) == [[0], [1]]
