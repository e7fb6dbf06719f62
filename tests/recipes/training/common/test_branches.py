"""A prompt and its completions in one row: the same states and gradients as in rows of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import Gemma3TextConfig, GPT2Config, MistralConfig, Qwen3Config

from tests.support import tiny_model
from tests.support.training.attention_masks import no_masks
from training.recipes.common import branches, features, loading

PROMPTS = [[5, 6, 7, 8], [9, 10]]
GROUPS = [[[1, 2, 3], [4], [11, 12]], [[13, 14, 15, 16, 17]]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder: Path = tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")
    return loading.load_policy(folder, dtype=torch.float32)


def pooled(model, prompts, groups) -> torch.Tensor:
    policy, tokenizer = model
    states, mask = features.completion_states(policy, prompts, groups, [1, 2], tokenizer.pad_token_id)
    return features.pool(states, mask, [(1, "mean"), (2, "last")])


def test_states_are_those_of_completions_on_their_own(model):
    together = pooled(model, PROMPTS, GROUPS)
    alone = [pooled(model, [p], [[c]]) for p, group in zip(PROMPTS, GROUPS, strict=True) for c in group]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_completions_on_their_own(model):
    weight = model[0].model.layers[0].self_attn.q_proj.weight.requires_grad_()

    def gradient(total: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(total, weight)[0]

    together = gradient(pooled(model, PROMPTS, GROUPS).square().sum())
    alone = [
        gradient(pooled(model, [p], [[c]]).square().sum())
        for p, group in zip(PROMPTS, GROUPS, strict=True)
        for c in group
    ]
    torch.testing.assert_close(together, sum(alone), atol=1e-4, rtol=1e-3)


def test_a_row_that_would_grow_too_long_repeats_its_prompt(model, monkeypatch):
    whole = pooled(model, PROMPTS, GROUPS)
    monkeypatch.setattr(branches, "LONGEST", 8)
    rows = branches.rows_of(PROMPTS, GROUPS, branching=True)
    assert [dataclasses.astuple(row) for row in rows] == [
        ([5, 6, 7, 8], [[1, 2, 3], [4]]),
        ([5, 6, 7, 8], [[11, 12]]),
        ([9, 10], [[13, 14, 15, 16, 17]]),
    ]
    torch.testing.assert_close(pooled(model, PROMPTS, GROUPS), whole, atol=1e-5, rtol=1e-4)


def test_the_models_own_layers_give_the_same(model, monkeypatch):
    by_hand = pooled(model, PROMPTS, GROUPS)
    assert branches.packs(model[0])
    monkeypatch.setattr(branches, "packs", lambda model: False)
    torch.testing.assert_close(pooled(model, PROMPTS, GROUPS), by_hand, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "branching"),
    [(Qwen3Config(), True), (MistralConfig(sliding_window=None), True), (MistralConfig(sliding_window=512), False),
     (Gemma3TextConfig(), False), (GPT2Config(), False)],
)  # fmt: skip
def test_only_models_that_attend_to_everything_before_branch(config, branching):
    assert branches.can_branch(config) is branching


@pytest.mark.parametrize("packs", [True, False])
def test_a_model_that_does_not_branch_gets_plain_rows(model, monkeypatch, packs):
    branched = pooled(model, PROMPTS, GROUPS)
    monkeypatch.setattr(branches, "can_branch", lambda config: False)
    monkeypatch.setattr(branches, "packs", lambda model: packs)
    with no_masks():
        torch.testing.assert_close(pooled(model, PROMPTS, GROUPS), branched, atol=1e-5, rtol=1e-4)


def test_threads_do_not_change_the_gradient_of_what_several_answers_begin_with(model, monkeypatch):
    begins = [10 + number % 60 for number in range(150)]
    row = branches.Row([5, 6, 7, 8], [[*begins, number] for number in range(5, 11)])
    slopes, leaves = torch.randn(len(row), 64, generator=torch.Generator().manual_seed(1)), []

    def stands_still(base, hidden, *given):
        leaves.append(hidden.detach().requires_grad_())
        return leaves[-1]

    monkeypatch.setattr(branches, "run_packed", stands_still)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(20):
            (branches.packed_states(model[0], [row], [1])[1] * slopes).sum().backward()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(leaf.grad, leaves[0].grad) for leaf in leaves)
