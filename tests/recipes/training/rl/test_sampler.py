import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close

from tests.support.training.tiny_llama import llama
from training.rl import decode, module_decoder, sampler
from training.rl.decode import LlamaDecoder, decoder_for
from training.rl.factors import Factors
from training.rl.linear import Linear
from training.rl.lora import LoRALinear, Switch, freeze
from training.rl.module_decoder import ModuleDecoder
from training.rl.policy import Policy
from training.rl.sampler import Sampling, draw, draw_with_logprobs, left_pad, sample, sequence_seed

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [5, 6, 7], [13]]


def _sample(decoder, prompts=PROMPTS, seeds=(1, 2, 3, 4), sampling=None, end_ids=(1,)):
    sampling = sampling or Sampling(20)
    return sample(decoder, prompts, seeds, sampling, end_ids=end_ids, pad_id=0)


def test_one_row_that_rounding_turns_around_is_no_other_model():
    """In bfloat16: children of SFT lost the fast decoder so, and PPO drew half as fast in three times the memory."""
    generator = torch.Generator().manual_seed(0)
    logits, noise = (torch.randn(7, 500, generator=generator) for _ in range(2))
    for row in range(7):
        turned = logits.clone()
        turned[row] += 0.4 * noise[row]
        assert module_decoder._nearly_same(turned, logits, torch.bfloat16)
    assert not module_decoder._nearly_same(logits + 0.15 * noise, logits, torch.bfloat16)
    assert module_decoder._nearly_same(logits + 0.05 * noise, logits + 3, torch.bfloat16)


def test_left_padding_keeps_prompts_flush_right():
    ids, mask = left_pad([[4], [5, 6]], pad_id=0)
    assert ids.tolist() == [[0, 4], [5, 6]] and mask.tolist() == [[0, 1], [1, 1]]


def test_a_uniform_picks_by_the_cumulative_distribution():
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(5, 3)
    drawn = draw(logits, torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71]), temperature=1.0)
    assert drawn.tolist() == [0, 0, 1, 1, 2]


def test_a_token_of_probability_zero_is_never_drawn():
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]]).expand(3, 3)
    assert draw(logits, torch.tensor([0.0, 0.5, 0.9999999]), 1.0).tolist() == [1, 1, 1]


def test_temperature_zero_takes_the_likeliest():
    assert draw(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([0.99]), 0).tolist() == [1]


def nucleus_of(probs, top_p):
    """Zero all but the fewest tokens that hold `top_p` of the mass, by sorting all of them."""
    sorted_probs, tokens = probs.sort(dim=-1, descending=True)
    sorted_probs[sorted_probs.cumsum(-1) - sorted_probs >= top_p] = 0
    return torch.zeros_like(probs).scatter(-1, tokens, sorted_probs)


def test_the_nucleus_is_the_smallest_set_that_holds_the_mass():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().expand(4, 4)
    drawn, logprobs = draw_with_logprobs(logits, torch.tensor([0.0, 0.66, 0.67, 0.999]), 1.0, top_p=0.7)
    assert drawn.tolist() == [1, 1, 3, 3]
    assert_close(logprobs.exp(), torch.tensor([2, 2, 1, 1]) / 3)


def test_nuclei_of_a_few_tokens_and_of_thousands_are_drawn_from_side_by_side():
    generator = torch.Generator().manual_seed(5)
    widths = torch.tensor([9.0, 3.0, 1.0, 0.1])[:, None]
    logits = torch.randn(4, 5000, generator=generator) * widths
    probs = nucleus_of(logits.double().softmax(-1), 0.9)
    sizes = (probs > 0).sum(-1).tolist()
    assert sizes[0] < sampler.FIRST_LOOK < sizes[1] < 512 < sizes[2] < 4096 < sizes[3]
    probs /= probs.sum(-1, keepdim=True)
    for uniform in (0.0, 0.3, 0.77, 0.9999):
        drawn, logprobs = draw_with_logprobs(logits, torch.full((4,), uniform), 1.0, top_p=0.9)
        before = probs.cumsum(-1).gather(1, drawn[:, None])[:, 0]
        chance = probs.gather(1, drawn[:, None])[:, 0]
        assert ((before - chance - 1e-5 <= uniform) & (uniform <= before + 1e-5)).all()
        assert_close(logprobs.exp().double(), chance, atol=1e-7, rtol=1e-3)


def test_draws_follow_the_probabilities():
    logits = torch.tensor([0.6, 0.3, 0.1]).log().expand(4000, 3)
    uniforms = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    shares = draw(logits, uniforms, 1.0).bincount(minlength=3) / 4000
    assert_close(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "config", [{}, {"attention_bias": True}, {"num_key_value_heads": 4}, {"tie_word_embeddings": True}]
)
@pytest.mark.parametrize("fused", [False, True])
def test_the_fast_decoder_gives_the_models_own_logits(config, fused: bool):
    model = llama(**config)
    ids, mask = left_pad(PROMPTS, 0)
    fast, plain = LlamaDecoder(model), ModuleDecoder(model)
    fast.fused = fused
    assert_close(fast.prefill(ids, mask, 4), plain.prefill(ids, mask, 4), atol=1e-4, rtol=1e-4)
    for token in (4, 9):
        tokens = torch.full((4,), token)
        assert_close(fast.step(tokens), plain.step(tokens), atol=1e-4, rtol=1e-4)
        keep = torch.tensor([3, 1, 0, 2])
        fast.select(keep), plain.select(keep)


def test_a_prompt_may_be_one_token():
    model, ids = llama(), torch.tensor([[4], [9]])
    fast, plain = LlamaDecoder(model), ModuleDecoder(model)
    mask = torch.ones_like(ids)
    assert_close(fast.prefill(ids, mask, 4), plain.prefill(ids, mask, 4), atol=1e-4, rtol=1e-4)
    assert_close(fast.step(ids[:, 0]), plain.step(ids[:, 0]), atol=1e-4, rtol=1e-4)


def test_a_model_with_adapters_is_decoded_by_the_fast_decoder_and_with_them():
    policy = Policy(llama(), "lora", rank=4, alpha=8)
    decoder = decoder_for(policy.model, exact=True)
    assert isinstance(decoder, LlamaDecoder)
    for parameter in policy.parameters().values():
        parameter.data += 0.1
    ids, mask = left_pad(PROMPTS, 0)
    decoder.refresh(policy.trained_from)
    assert_close(decoder.prefill(ids, mask, 4), ModuleDecoder(policy.model).prefill(ids, mask, 4), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_bias": True}])
def test_adapters_of_peft_are_decoded_with_or_left_to_the_model_itself(options):
    model = llama()
    targets = [name for name, module in model.model.named_modules() if isinstance(module, torch.nn.Linear)]
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=targets, **options)).eval()
    torch.manual_seed(2)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    ids, mask = left_pad(PROMPTS, pad_id=0)
    fast, plain = decoder_for(adapted.get_base_model(), exact=True), ModuleDecoder(model)
    assert isinstance(fast, ModuleDecoder if options else LlamaDecoder)
    assert_close(fast.prefill(ids, mask, 1), plain.prefill(ids, mask, 1), atol=1e-4, rtol=1e-4)
    with adapted.disable_adapter():
        fast = decoder_for(adapted.get_base_model(), exact=True)
        assert_close(fast.prefill(ids, mask, 1), plain.prefill(ids, mask, 1), atol=1e-4, rtol=1e-4)
        parent = plain.prefill(ids, mask, 1)
    assert (plain.prefill(ids, mask, 1) - parent).abs().max() > 0.01, "the adapters do something"


@pytest.mark.parametrize("parent", ["full weights", "an adapter"])
def test_in_bfloat16_the_sampler_computes_an_update_that_a_merge_would_round_away(parent: str):
    """The change of a layer's outputs, regressed on its inputs, is the update: 20 steps of 1e-4."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, n, bias=False).to(torch.bfloat16) for n in (32, 48)]
    for layer in layers:
        layer.weight.data.mul_(2)
        if parent == "an adapter":
            freeze(layer, Factors(torch.randn(3, 64) * 0.1, torch.randn(layer.out_features, 3) * 0.1))
    adapted = [LoRALinear(layer, 4, 8, Switch(), torch.Generator().manual_seed(1)) for layer in layers]
    fused = Linear(*adapted)
    x = torch.randn(20_000, 64).bfloat16()
    before = fused(x).float()
    for layer in adapted:
        layer.lora_b.data.normal_(std=2e-3)
    fused.refresh()
    change = fused(x).float() - before
    found = torch.linalg.lstsq(x.float(), change).solution.T
    wanted = torch.cat([layer.factors().product() for layer in adapted])
    assert torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.98
    theirs = torch.cat([layer(x) for layer in adapted], 1).float()
    assert (fused(x).float() - theirs).norm() / theirs.norm() < 4e-3


def test_a_refresh_reads_adapters_and_leaves_frozen_weights_as_they_lie():
    policy = Policy(llama().to(torch.bfloat16), "top", rank=4, alpha=8)
    decoder = LlamaDecoder(policy.model)
    weights = [layer.qkv.weight for layer in decoder.layers]
    for parameter in policy.parameters().values():
        parameter.data += 0.1
    decoder.refresh(policy.trained_from)
    assert all(layer.qkv.weight is weight for layer, weight in zip(decoder.layers, weights, strict=True))
    assert [layer.qkv.low_rank is not None for layer in decoder.layers] == [False, False, True]


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (0.7, 0), (1.0, 5)])
def test_drawn_tokens_come_with_their_logprobs_in_what_they_were_drawn_from(top_p: float, top_k: int):
    logits = torch.randn(40, 600, generator=torch.Generator().manual_seed(1)) * 3
    uniforms = torch.rand(40, generator=torch.Generator().manual_seed(2))
    tokens, logprobs = draw_with_logprobs(logits, uniforms, 0.8, top_p, top_k)
    probs = (logits / 0.8).softmax(-1)
    if top_k:
        probs = probs * (probs >= probs.topk(top_k).values[:, -1:])
    if top_p < 1:
        probs = nucleus_of(probs, top_p)
    wanted = (probs / probs.sum(-1, keepdim=True)).gather(1, tokens[:, None])[:, 0].log()
    assert_close(logprobs, wanted, atol=1e-4, rtol=1e-4)


def test_greedy_completions_are_those_of_generate():
    model = llama(seed=3)
    ids, mask = left_pad(PROMPTS, 0)
    ours = _sample(decoder_for(model), sampling=Sampling(12, temperature=0))
    theirs = model.generate(
        ids, attention_mask=mask, max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=1
    )
    assert_close(ours.tokens[:, : theirs.shape[1] - 5], theirs[:, 5:])


def test_a_model_unlike_llama_falls_back_on_its_own_forward():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64)).eval()
    decoder = decoder_for(model)
    assert isinstance(decoder, ModuleDecoder)
    assert _sample(decoder).lengths.min() >= 1


def test_a_decoder_that_computes_something_else_is_not_trusted():
    model = llama()
    model.model.layers[1].mlp.act_fn = torch.nn.ReLU()
    assert isinstance(decoder_for(model), ModuleDecoder)


def test_a_completion_depends_on_its_seed_and_not_on_its_neighbours():
    decoder = decoder_for(llama())
    together = _sample(decoder)
    alone = _sample(decoder, [PROMPTS[2]], [3])
    length = int(alone.lengths[0])
    assert together.lengths[2] == length
    assert together.tokens[2, :length].tolist() == alone.tokens[0, :length].tolist()
    assert together.tokens[0].tolist() != together.tokens[2].tolist()  # one prompt, two seeds


def test_rows_leave_the_batch_when_they_end_and_nothing_follows_their_end():
    sizes = []
    decoder = decoder_for(llama(seed=1))
    step = decoder.step
    decoder.step = lambda tokens: sizes.append(len(tokens)) or step(tokens)
    sample = _sample(decoder, PROMPTS * 4, range(16), Sampling(60), end_ids=[1, 7, 19])
    assert sizes[0] > sizes[-1]
    for tokens, length, finished in zip(sample.tokens, sample.lengths, sample.finished, strict=True):
        ends = torch.isin(tokens, torch.tensor([1, 7, 19])).nonzero()[:, 0].tolist()
        assert ends == ([int(length) - 1] if finished else [])
        assert not tokens[length:].any()


def test_equal_prompts_are_prefilled_once():
    seen = []
    decoder = decoder_for(llama())
    admit = decoder.admit
    decoder.admit = lambda rows, prompts, *rest: seen.append(len(prompts)) or admit(rows, prompts, *rest)
    _sample(decoder)
    assert seen == [3]


BEGINNING = [3, 4, 5, 6, 7]


@pytest.mark.parametrize("beginning", [[], BEGINNING])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_that_has_ended_gives_its_place_to_the_next_prompt(beginning: list[int], dtype: torch.dtype, fused: bool):
    """Twelve prompts of 1 to 9 tokens in three rows: each answer is the one that its prompt gets alone."""
    decoder = decoder_for(llama(seed=1).to(dtype))
    decoder.fused = fused
    prompts = [beginning + [8 + (n * k) % 20 for k in range(1 + n % 4)] for n in range(12)]
    sizes, ended, step = [], [], decoder.step
    decoder.step = lambda tokens: sizes.append(len(tokens)) or step(tokens)
    options = {"end_ids": [1, 7, 19], "pad_id": 0}
    done = sample(decoder, prompts, range(12), Sampling(12), most_rows=3, on_end=ended.append, **options)
    assert max(sizes) == 3 and len(sizes) < 12 * 12 / 3 + 12 and ended == sorted(ended) and ended[-1] == 12
    same = 0
    for n, prompt in enumerate(prompts):
        alone = sample(decoder, [prompt], [n], Sampling(12), **options)
        same += done.tokens[n, : done.lengths[n]].tolist() == alone.tokens[0, : alone.lengths[0]].tolist()
        if dtype == torch.float32:
            length = int(alone.lengths[0])
            assert_close(done.logprobs[n, :length], alone.logprobs[0, :length], atol=1e-3, rtol=1e-3)
    assert same == 12 if dtype == torch.float32 else same >= 9
    again = sample(decoder, prompts, range(12), Sampling(12), most_rows=3, **options)
    assert torch.equal(again.tokens, done.tokens) and torch.equal(again.logprobs, done.logprobs)


def test_the_cache_grows_to_its_room_as_it_is_filled(monkeypatch):
    monkeypatch.setattr(decode, "AHEAD", 5)
    model = llama(seed=1)
    decoder, plain = LlamaDecoder(model), ModuleDecoder(model)
    ids, mask = left_pad(PROMPTS, 0, "cpu")
    logits, expected = (each.prefill(ids, mask, 30) for each in (decoder, plain))
    widths = [decoder.bias.shape[1]]
    for _ in range(30):
        assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        tokens = expected.argmax(-1)
        logits, expected = decoder.step(tokens), plain.step(tokens)
        widths.append(decoder.bias.shape[1])
    room = ids.shape[1] + 30
    assert widths[0] == ids.shape[1] + 5 and widths[-1] == room == decoder.keys[-1].shape[1]
    assert all(filled <= width <= filled + 5 for filled, width in enumerate(widths, ids.shape[1]))


def test_a_decoder_without_places_to_give_away_takes_batch_after_batch():
    decoder = ModuleDecoder(llama(seed=1))
    options = {"end_ids": [1, 7, 19], "pad_id": 0}
    done = sample(decoder, PROMPTS * 2, range(8), Sampling(12), most_rows=3, **options)
    whole = sample(decoder, PROMPTS * 2, range(8), Sampling(12), **options)
    assert torch.equal(done.tokens, whole.tokens)


def test_seeds_differ_by_run_and_by_name():
    seeds = {sequence_seed(r, p, i) for r in range(3) for p in range(3) for i in range(3)}
    assert len(seeds) == 27 and sequence_seed(1, "a") == sequence_seed(1, "a")


@pytest.mark.parametrize("tokens", [5, 256, 1000, 4096])
def test_a_token_is_drawn_where_the_running_sum_passes_the_number(tokens):
    logits = torch.randn(64, tokens, generator=torch.Generator().manual_seed(3)) * 4
    uniforms = torch.rand(64, generator=torch.Generator().manual_seed(4))
    probs = (logits.double() / 0.7).softmax(-1)
    expected = (probs.cumsum(-1) <= uniforms.double()[:, None]).sum(-1)
    assert torch.equal(draw(logits, uniforms, 0.7), expected)


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_no_number_leads_to_a_token_without_weight(number):
    logits = torch.full((1, 700), float("-inf"))
    logits[0, [300, 400]] = 0.0
    assert draw(logits, torch.tensor([number]), 1.0).item() == (300 if number == 0 else 400)
    assert logits[0, 300] == 0.0  # the caller's logits are left as they are


def test_adapters_that_were_merged_are_taken_out_where_they_are_switched_off():
    policy = Policy(llama(), "lora", rank=4, alpha=8)
    for parameter in policy.parameters().values():
        parameter.data += 0.1
    decoder, plain = LlamaDecoder(policy.model, exact=True), ModuleDecoder(policy.model)
    ids, mask = left_pad(PROMPTS, 0)
    layer = next(module for module in policy.model.modules() if isinstance(module, LoRALinear))
    with layer.switch.off():
        parent = plain.prefill(ids, mask, 1)
        decoder.refresh(0)
        assert_close(decoder.prefill(ids, mask, 1), parent, atol=1e-3, rtol=1e-3)
    decoder.refresh(0)
    with_adapters = plain.prefill(ids, mask, 1)
    assert_close(decoder.prefill(ids, mask, 1), with_adapters, atol=1e-3, rtol=1e-3)
    assert (with_adapters - parent).abs().max() > 0.01, "the adapters do something"
