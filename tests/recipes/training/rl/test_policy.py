import pytest
import torch
from torch.testing import assert_close

from tests.support.training.tiny_llama import llama
from training.rl.advantages import completion_mask
from training.rl.factors import Factors
from training.rl.lora import adapter_parameters, add_adapters, apply_update
from training.rl.policy import CannotCut, Policy
from training.rl.rollout import Rollout, rollout_of
from training.rl.sampler import Completions
from training.rl.trunk import cut_agrees

PROMPTS = [[3, 4], [5, 6, 7], [8], [9, 2]]
ALL_LAYERS = frozenset(range(4))


def _rollout() -> Rollout:
    tokens = torch.tensor([[9, 8, 7, 6], [5, 4, 1, 0], [1, 0, 0, 0], [3, 3, 3, 1]])
    finished = torch.tensor([False, True, True, True])
    return rollout_of(PROMPTS, Completions(tokens, torch.tensor([4, 3, 1, 4]), finished), pad_id=0)


def _stir(policy: Policy) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.parameters().values():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def test_a_rollout_joins_prompts_and_completions_flush_left():
    rollout = _rollout()
    assert rollout.ids.tolist() == [[3, 4, 9, 8, 7, 6], [5, 6, 7, 5, 4, 1], [8, 1, 0, 0, 0, 0], [9, 2, 3, 3, 3, 1]]
    rows, columns = rollout.states()
    assert columns[rows == 1].tolist() == [2, 3, 4]  # each token was drawn in the state before it
    assert rollout.text_mask().sum(1).tolist() == [4, 2, 0, 3]  # no end token, no prompt, no padding
    assert rollout[torch.tensor([2])].ids.tolist() == [[8, 1]]


@pytest.mark.parametrize("adapters", ["top", "lora", "full"])
def test_logprobs_are_those_of_the_model_on_each_sequence_alone(adapters: str):
    rollout, model = _rollout(), llama()
    policy = Policy(model, adapters, temperature=0.7, rank=4, alpha=8)
    _stir(policy)
    with torch.no_grad():
        found, entropies = policy.logprobs(policy.lower(rollout)[0], rollout, entropies=True)
        for row, prompt in enumerate(PROMPTS):
            n = int(rollout.lengths[row])
            sequence = torch.tensor([prompt + rollout.tokens[row, :n].tolist()])
            logits = model(sequence).logits[0, len(prompt) - 1 : -1] / 0.7
            alone = torch.distributions.Categorical(logits=logits)
            assert_close(found[row, :n], alone.log_prob(rollout.tokens[row, :n]), atol=1e-4, rtol=1e-4)
            assert_close(entropies[row, :n], alone.entropy(), atol=1e-4, rtol=1e-4)
            assert not found[row, n:].any()


@pytest.mark.parametrize("adapters", ["top", "lora", "full"])
def test_the_reference_stays_the_parent_while_the_policy_moves(adapters: str):
    rollout, parent = _rollout(), llama()
    policy = Policy(llama(), adapters, rank=4, alpha=8)
    lower, below = policy.lower(rollout, ALL_LAYERS)
    before, _ = policy.reference_logprobs(lower, rollout, ALL_LAYERS)
    with torch.no_grad():
        assert_close(policy.logprobs(lower, rollout)[0], before)  # at first they are one
    _stir(policy)
    after, above = policy.reference_logprobs(lower, rollout, ALL_LAYERS)
    assert torch.equal(before, after)
    assert (policy.logprobs(lower, rollout)[0] - after).abs().max() > 0.01
    theirs = parent(rollout.ids, output_hidden_states=True).hidden_states
    valid = completion_mask(rollout.prompt_lengths + rollout.lengths, rollout.ids.shape[1])
    for layer, hidden in (below | above).items():
        assert_close(hidden[valid], theirs[layer][valid], atol=1e-4, rtol=1e-4)
    assert (below | above).keys() == ALL_LAYERS


def test_only_what_lies_above_the_cut_is_trained():
    policy = Policy(llama(), "top", rank=4, alpha=8)
    assert policy.cut == policy.trained_from == 2
    assert {name.split(".")[2] for name in policy.parameters()} == {"2"}
    assert all(p.dtype == torch.float32 for p in policy.parameters().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_over_a_parent_that_is_an_adapter_the_reference_is_that_parent(dtype: torch.dtype):
    """And neither its base nor a policy that starts there."""
    rollout, update = _rollout(), {}
    parent = llama()
    for name, module in parent.model.layers.named_modules():
        if isinstance(module, torch.nn.Linear):
            generator = torch.Generator().manual_seed(len(name))
            a = torch.randn(3, module.in_features, generator=generator)
            update[f"model.layers.{name}"] = Factors(a, 0.1 * torch.randn(module.out_features, 3, generator=generator))
    apply_update(parent, update)
    model = llama().to(dtype)
    apply_update(model, update)
    policy = Policy(model, "lora", rank=4, alpha=8)
    base = Policy(llama().to(dtype), "lora", rank=4, alpha=8)
    whole = Policy(parent, "lora", rank=4, alpha=8)
    wanted = whole.logprobs(whole.lower(rollout)[0], rollout)[0].detach()
    lower, _ = policy.lower(rollout)
    assert policy.packed
    _stir(policy)
    with torch.no_grad():
        reference_logprob = policy.reference_logprobs(lower, rollout, frozenset())[0]
        of_base = base.reference_logprobs(base.lower(rollout)[0], rollout, frozenset())[0]
        moved = policy.logprobs(lower, rollout)[0]
    noise = 1e-4 if dtype == torch.float32 else 0.15
    assert (reference_logprob - wanted).abs().mean() < noise < 0.5 * (of_base - wanted).abs().mean()
    assert (moved - wanted).abs().mean() > noise


def test_float32_masters_keep_steps_that_bfloat16_would_lose():
    model = llama().to(torch.bfloat16).requires_grad_(False)
    add_adapters(model.model.layers, 4, 8, seed=0)
    adapter = adapter_parameters(model)["model.layers.0.mlp.down_proj.lora_a"]
    before = adapter.detach().clone()
    adapter.data += 1e-5
    assert (adapter - before).min() > 0
    assert torch.equal(
        (before.bfloat16() + 1e-5).bfloat16()[before.abs() > 0.05], before.bfloat16()[before.abs() > 0.05]
    )


def _scale_states(module: torch.nn.Module, args: object, output: object) -> None:
    output.last_hidden_state.mul_(1.5)


def test_rounding_in_thirty_layers_of_bfloat16_is_no_other_layout():
    model = llama(layers=30, initializer_range=0.2).to(torch.bfloat16)
    assert cut_agrees(model, 20)
    # A decoder that does something of its own beside its layers
    model.get_decoder().register_forward_hook(_scale_states)
    assert not cut_agrees(model, 20)


def test_layers_that_cannot_be_cut_are_refused():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=3, n_head=2, n_positions=64)).eval()
    with pytest.raises(CannotCut, match="GPT2LMHeadModel"):
        Policy(model, "top")
