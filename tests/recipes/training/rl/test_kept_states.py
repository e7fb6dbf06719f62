"""What the sampler keeps of frozen layers is what the policy would compute again."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.support.training.tiny_llama import llama
from training.rl import kept_states
from training.rl.decode import decoder_for
from training.rl.kept_states import KeptStates
from training.rl.policy import Policy
from training.rl.rollout import Rollout, rollout_of
from training.rl.sampler import Sampling, sample

BEGINNING = [3, 4, 5, 6, 7]
LAYERS = frozenset({1, 2})


@pytest.mark.parametrize("most_rows", [None, 3])
@pytest.mark.parametrize("beginning", [[], BEGINNING])
@pytest.mark.parametrize("end_ids", [[1, 7, 19], []])
def test_kept_states_are_those_of_a_forward_over_the_whole_answers(beginning, most_rows, end_ids):
    """Of every token whose state anything reads: all but the end token, the last word of a cut answer among them."""
    prompts = [beginning + [8 + (n * k) % 20 for k in range(1 + n % 4)] for n in range(10)]
    policy = Policy(llama(seed=1, layers=3), "top", rank=4, alpha=8)
    for parameter in policy.parameters().values():
        parameter.data += 0.1
    decoder, longest = decoder_for(policy.model, exact=True), len(beginning) + 4
    kept = KeptStates(policy.below(LAYERS), len(prompts), longest + 6, 32, torch.float32, "cpu")
    options = {"end_ids": end_ids, "pad_id": 0, "most_rows": most_rows}
    done = sample(decoder, prompts, range(10), Sampling(6), kept=kept, **options)
    rollout = rollout_of(prompts, done, 0)
    assert bool(rollout.finished.any()) == bool(end_ids) and not bool(rollout.finished.all())
    wanted_lower, wanted = policy.lower(rollout, LAYERS)
    lower, states = policy.lower(rollout, LAYERS, kept.states(rollout.ids.shape[1]))
    ends = rollout.prompt_lengths + rollout.lengths - rollout.finished.long()
    read = torch.arange(rollout.ids.shape[1]) < ends[:, None]
    assert_close(lower[read], wanted_lower[read], atol=1e-4, rtol=1e-4)
    assert states.keys() == wanted.keys() == LAYERS
    for layer in LAYERS:
        assert_close(states[layer][read], wanted[layer][read], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        assert_close(policy.logprobs(lower, rollout)[0], policy.logprobs(wanted_lower, rollout)[0], atol=1e-4, rtol=0)


def test_a_prompt_that_goes_on_from_another_answers_end_has_a_state_of_its_own_there():
    """As the second turn of a conversation, whose first reply was drawn again."""
    policy = Policy(llama(seed=1, layers=3), "top", rank=4, alpha=8)
    decoder, options = decoder_for(policy.model, exact=True), {"end_ids": [1, 7, 19], "pad_id": 0}

    def drawn(prompts: list[list[int]], seeds: list[int], kept: KeptStates | None = None) -> Rollout:
        return rollout_of(prompts, sample(decoder, prompts, seeds, Sampling(6), kept=kept, **options), 0)

    alone = {seed: drawn([BEGINNING], [seed]) for seed in range(100)}
    first = next(seed for seed, one in alone.items() if bool(one.finished) and one.lengths.item() < 3)
    prompts = [BEGINNING, [*alone[first].ids[0].tolist(), 8]]
    then = next(seed for seed in range(100) if drawn(prompts[1:], [seed]).lengths.item() > 3)
    kept = KeptStates(policy.below(LAYERS), 2, len(prompts[1]) + 6, 32, torch.float32, "cpu")
    rollout = drawn(prompts, [first, then], kept)
    assert rollout.ids[0].tolist()[: len(prompts[1]) - 1] == prompts[1][:-1]
    lowers = (policy.lower(rollout, LAYERS, states)[0] for states in (None, kept.states(rollout.ids.shape[1])))
    wanted, found = (policy.reference_logprobs(lower, rollout, LAYERS)[0] for lower in lowers)
    assert_close(found, wanted, atol=1e-4, rtol=0)


def test_more_than_the_bound_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    assert kept_states.most_sequences(2, 319, 576, torch.float32) >= 64  # 94 MB of SmolLM2's
    assert kept_states.most_sequences(3, 1023, 4096, torch.bfloat16) < 512  # 13 GB of an 8B's


@pytest.mark.parametrize(("weight", "rounds"), [(0.5, False), (0.1, True)])
def test_a_trunk_that_sampling_rounds_is_known(weight: float, rounds: bool):
    model = llama()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, weight)
    decoder = decoder_for(model)
    halves = decoder.layers[0].qkv.way.name == "float16"
    assert decoder.rounds_below(1) == (rounds and halves)
    assert not decoder_for(model, exact=True).rounds_below(3)
    above = decoder_for(model, exact_below=2)
    assert not above.rounds_below(2) and above.rounds_below(3) == (rounds and halves)
