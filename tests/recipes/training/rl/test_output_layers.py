"""Every loss reads the model's own logits, also of models that scale them; one that cannot be read so is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch.testing import assert_close

from training.core.run_directory import RecipeFailure
from training.recipes.common import loading
from training.recipes.pretrain.loss_sums import forward
from training.recipes.pretrain.objectives import Batch
from training.recipes.sft.examples import Example
from training.recipes.sft.trained_model import Student
from training.rl.policy import Policy
from training.rl.rollout import rollout_of
from training.rl.sampler import Completions

SIZES: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS = {
    "granite": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**SIZES, logits_scaling=8.0)),
    "cohere": lambda: hf.CohereForCausalLM(hf.CohereConfig(**SIZES)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES)),
    "phi with a bias": lambda: hf.PhiForCausalLM(hf.PhiConfig(**SIZES)),
    "gemma2 with a cap": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5)
    ),
}
PROMPT, ANSWER = [5, 6, 7], [8, 60, 9, 2]


def made(name: str) -> Any:
    torch.manual_seed(4)
    model = MODELS[name]().eval()
    with torch.no_grad():  # freshly made models foresee all tokens alike, and any mistake would look right
        for parameter in model.parameters():
            parameter.mul_(4).add_(0.02 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def own_logprobs(model: Any) -> torch.Tensor:
    logits = model(torch.tensor([PROMPT + ANSWER]), use_cache=False).logits[0, len(PROMPT) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ANSWER)[:, None])[:, 0]


def of_sft(model: Any) -> torch.Tensor:
    example = Example("", PROMPT + ANSWER, [False] * len(PROMPT) + [True] * len(ANSWER))
    return -Student(model, "lora", rank=2, seed=0, dtype=torch.float32).loss([example], 1.0)[1]


def of_ppo(model: Any) -> torch.Tensor:
    drawn = Completions(torch.tensor([ANSWER]), torch.tensor([len(ANSWER)]), torch.tensor([True]))
    rollout, policy = rollout_of([PROMPT], drawn, pad_id=0), Policy(model, "lora", rank=2, alpha=4)
    return policy.logprobs(policy.lower(rollout)[0], rollout)[0][0].detach()


def of_domain(model: Any) -> torch.Tensor:
    ids, count = torch.tensor([PROMPT + ANSWER]), len(PROMPT + ANSWER)
    labels = torch.tensor([[-100] * (len(PROMPT) - 1) + ANSWER + [-100]])
    batch = Batch(
        ids, torch.ones_like(ids), torch.arange(count)[None], torch.tensor([True]), labels
    )  # fmt: skip
    sums = forward(model, batch, 1.0)[1]
    return torch.tensor(-sums.nats)


def of_preferences(model: Any) -> torch.Tensor:
    example = Example("", PROMPT + ANSWER, [False] * len(PROMPT) + [True] * len(ANSWER))
    policy = Student(model, "lora", rank=2, seed=0, dtype=torch.float32, any_logits=True)
    shorter = Example("", [*PROMPT, 9], [False] * len(PROMPT) + [True])
    return policy.logprobs([shorter, example])[0][1].detach()


@pytest.mark.parametrize("name", ["granite", "cohere", "llama"])
@pytest.mark.parametrize("read", [of_sft, of_ppo, of_domain, of_preferences])
def test_a_loss_is_of_the_logits_that_the_model_answers_by(name: str, read: Any):
    own = own_logprobs(made(name))
    found = read(made(name))
    assert_close(found.float(), own if found.ndim else own.sum(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["phi with a bias", "gemma2 with a cap"])
def test_of_a_preference_even_logits_with_a_bias_or_a_cap_are_the_models_own(name: str):
    assert_close(of_preferences(made(name)), own_logprobs(made(name)).sum(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["phi with a bias", "gemma2 with a cap", "granite"])
def test_logits_of_all_tokens_count_in_what_a_pass_takes(name: str):
    """The model's own forward makes them: in a part of 16,384 tokens they are more than all else."""
    policy = Student(made(name), "lora", rank=2, seed=0, dtype=torch.float32, any_logits=True)
    held = kept_bytes(policy)
    assert (held > 0) == (name != "granite")
    assert policy.shape().logits >= held


def kept_bytes(policy: Student) -> int:
    """Return the bytes of a token that lie in arrays over the whole vocabulary, once it has been forwarded."""
    example, found = Example("", PROMPT + ANSWER, [False] + [True] * 6), {}

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape and tensor.shape[-1] == 97:
            found[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        policy.logprobs([example])
    return sum(found.values()) // len(example.tokens)


@pytest.mark.parametrize("name", ["phi with a bias", "gemma2 with a cap"])
def test_logits_that_a_loss_cannot_read_are_refused_in_words(name: str):
    with pytest.raises(RecipeFailure, match="its output layer") as refused:
        loading.require_readable_logits(made(name))
    assert refused.value.code == "unreadable_logits" and "DPO" in refused.value.remedy


@pytest.mark.parametrize("name", ["granite", "cohere", "llama"])
def test_logits_that_are_scaled_are_not_refused(name: str):
    loading.require_readable_logits(made(name))
