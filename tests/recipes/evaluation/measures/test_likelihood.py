"""Sequences in trees get what each gets alone, whatever the architecture; and what is read is less."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import transformers as hf

from evaluation.recipes.common import likelihood, token_trees
from evaluation.recipes.common.token_trees import Pair
from training.core.run_directory import RunDirectory

SIZES: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED: dict[str, Any] = SIZES | {"num_key_value_heads": 2}
GPT2: dict[str, Any] = {
    "vocab_size": 97,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MAMBA: dict[str, Any] = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}

# What each is read by. Bloom's places are distances along the row, and Mamba's state runs along it: no trees.
MODELS: dict[str, tuple[Any, str]] = {
    "llama": (lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED)), "packed"),
    "qwen2": (lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**GROUPED)), "packed"),
    "gpt2": (lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)), "trees"),
    "neox": (lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES)), "trees"),
    "mistral with a window": (
        lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=8)), "states",
    ),
    "gemma2 with caps": (
        lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**GROUPED, head_dim=8, final_logit_softcapping=0.5)), "logits",
    ),
    "phi with a bias": (lambda: hf.PhiForCausalLM(hf.PhiConfig(**SIZES)), "logits"),
    "bloom": (
        lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4)), "states",
    ),
    "mamba": (lambda: hf.MambaForCausalLM(hf.MambaConfig(**MAMBA)), "states"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")


def made(name: str) -> Any:
    torch.manual_seed(4)
    model = MODELS[name][0]().eval()
    with torch.no_grad():  # freshly made models foresee all tokens alike, and any mistake would look right
        for parameter in model.parameters():
            parameter.mul_(4).add_(0.02 * torch.randn_like(parameter))
    return model


def pairs(count: int = 40) -> list[Pair]:
    """Items of two to four candidates after one context, with beginnings in common, and one candidate of one token."""
    draw, found = random.Random(1), []
    for _ in range(count // 3):
        context = [draw.randrange(3, 97) for _ in range(draw.randint(1, 20))]
        stem = [draw.randrange(3, 97) for _ in range(draw.randint(0, 4))]
        found += [Pair(context, stem + [draw.randrange(3, 97) for _ in range(draw.randint(1, 9))]) for _ in range(3)]
    return found


@torch.inference_mode()
def directly(model: Any, pair: Pair) -> tuple[float, bool]:
    ids = torch.tensor([[*pair.context, *pair.continuation]])
    first = len(pair.context)
    logs = model(ids, use_cache=False).logits[0, first - 1 : -1].float().log_softmax(-1)
    greedy = bool((logs.argmax(-1) == ids[0, first:]).all())
    return logs.gather(1, ids[0, first:, None]).sum().item(), greedy


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_gives_what_its_own_forward_gives(tmp_path, name):
    model = made(name)
    assert likelihood.method_of(model) == MODELS[name][1]
    score = likelihood.score(RunDirectory(tmp_path), model, pairs(), batch_tokens=120, phase="x", name="x")
    for pair, scored in zip(pairs(), score, strict=True):
        value, greedy = directly(model, pair)
        assert scored.log_likelihood == pytest.approx(value, abs=2e-3) and scored.greedy == greedy


def test_one_beginning_with_many_ends_is_read_as_a_tree(tmp_path, monkeypatch):
    """Laid end to end its copies would be most of the work."""
    model, padded = made("llama"), []
    original = likelihood._padded
    monkeypatch.setattr(likelihood, "_padded", lambda *given: padded.append(given[2]) or original(*given))
    asked = [Pair(list(range(3, 60)), [n, 70, 71]) for n in range(60, 75)] + [Pair([5, 6], [7, 8, 9, 10])]
    score = likelihood.score(RunDirectory(tmp_path), model, asked, batch_tokens=90, phase="x", name="x")
    assert padded == ["logits", "trees"]  # to choose the method, and the first of two batches
    for pair, scored in zip(asked, score, strict=True):
        value, greedy = directly(model, pair)
        assert scored.log_likelihood == pytest.approx(value, abs=2e-3) and scored.greedy == greedy


def test_the_likeliest_continuation_is_known_as_such(tmp_path):
    model = made("llama")
    best = model(torch.tensor([[5, 6, 7]])).logits[0, -1].argmax().item()
    asked = [Pair([5, 6, 7], [best]), Pair([5, 6, 7], [(best + 1) % 97]), Pair([5, 6, 7], [best])]
    score = likelihood.score(RunDirectory(tmp_path), model, asked, batch_tokens=64, phase="x", name="x")
    assert [scored.greedy for scored in score] == [True, False, True]


def test_what_candidates_share_is_read_once():
    context = list(range(3, 53))
    trees = token_trees.grown([Pair(context, [60 + n, 70, 71, 72]) for n in range(4)])
    assert len(trees) == 1 and len(trees[0].tokens) == 50 + 4 * 3  # the last token of each is not read
    assert len(token_trees.grown([Pair([1], [60 + n, 70, 71, 72]) for n in range(4)])) == 4  # one token is no beginning


@pytest.mark.parametrize(
    ("device", "method", "allowed"), [("cuda", "logits", 1000), ("cuda", "states", 8192), ("cpu", "logits", 8192)]
)
def test_a_gpu_holds_few_logits_of_a_model_that_keeps_those_of_all_tokens(monkeypatch, device, method, allowed):
    monkeypatch.setattr(likelihood.loading, "device", lambda: torch.device(device))
    monkeypatch.setattr(likelihood, "GPU_LOGITS", 97_000)
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED))
    assert likelihood.within_logits(model, 8192, method) == allowed
    assert likelihood.within_logits(model, 500, method) == 500


def test_batches_hold_no_more_than_they_may():
    trees = token_trees.grown([Pair([n], list(range(n, n + 5 + n % 9))) for n in range(1, 40)])
    planned = list(token_trees.batches(trees, 30))
    assert sum(map(len, planned)) == len(trees)
    assert all(len(batch) * len(batch[0].tokens) <= 30 or len(batch) == 1 for batch in planned)
    assert [len(b[0].tokens) for b in planned] == sorted((len(b[0].tokens) for b in planned), reverse=True)
