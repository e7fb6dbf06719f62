"""Packed layers against the model's own, sequence by sequence: outputs and every gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support import tiny_model
from training.recipes.common import loading
from training.rl import decode, trunk
from training.rl.factors import Factors
from training.rl.lora import add_adapters, freeze
from training.rl.packed import packed_attention, packed_rows
from training.rl.packed import packed_layers as packed

LENGTHS = [4, 9, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def model_with(folder, learns: str):
    model, _ = loading.load_policy(folder, torch.float32)
    model.requires_grad_(learns == "full")
    if learns == "lora over a frozen parent":
        for layer in model.get_decoder().layers:
            for module in layer.modules():
                if isinstance(module, torch.nn.Linear):
                    freeze(module, factors_for(module))
    if learns != "full":
        layers = model.get_decoder().layers
        add_adapters(layers[2:] if learns == "top" else layers, 4, 8.0, seed=0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("lora_b"):
                    parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


def factors_for(module) -> Factors:
    generator = torch.Generator().manual_seed(module.out_features)
    a = torch.randn(3, module.in_features, generator=generator)
    return Factors(a, 0.02 * torch.randn(module.out_features, 3, generator=generator))


def gradients(model, run) -> dict[str, torch.Tensor]:
    """Of a loss that looks at every output differently, by parameter; `start` is the embeddings'."""
    base = model.get_decoder()
    ids = torch.arange(sum(LENGTHS)).mul(37).remainder(90)
    start = base.embed_tokens(ids).detach().requires_grad_()
    model.zero_grad()
    hidden = base.norm(run(base, start))
    (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    found = {name: p.grad.clone() for name, p in base.named_parameters() if p.grad is not None}
    return found | {"start": start.grad, "hidden": hidden.detach()}


def one_by_one(base, start):
    return torch.cat([_alone(base, part) for part in start.split(LENGTHS)])


def _alone(base, part):
    position_ids = torch.arange(len(part))[None]
    hidden, rotations = part[None], base.rotary_emb(part[None], position_ids=position_ids)
    for layer in base.layers:
        hidden = layer(hidden, attention_mask=None, position_ids=position_ids, position_embeddings=rotations)
    return hidden[0]


@pytest.mark.parametrize("learns", ["lora", "top", "full", "lora over a frozen parent"])
@pytest.mark.parametrize(("recompute", "queries"), [(False, 256), (True, 256), (False, 3)])
def test_outputs_and_gradients_are_the_models_own(folder, monkeypatch, learns, recompute, queries):
    monkeypatch.setattr(packed_rows, "QUERIES", queries)
    model = model_with(folder, learns)

    def together(base, start):
        rows = packed_rows.rows_of(base, LENGTHS, start.dtype)
        return packed.run_packed(base, start, rows, 0, len(base.layers), recompute)

    wanted, found = gradients(model, one_by_one), gradients(model, together)
    assert found.keys() == wanted.keys()
    for name in wanted:
        # Kernels add up in another order: with AMX up to 2e-4 of gradients around 0.3.
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=5e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("learns", ["lora", "top", "full"])
@pytest.mark.parametrize("recompute", [False, True])
def test_what_is_wanted_alone_is_what_it_is_among_all(folder, learns, recompute):
    model = model_with(folder, learns)
    base, wanted, found = model.get_decoder(), torch.tensor([2, 5, 7, 8, 12, 13]), []
    ids, rows = torch.arange(sum(LENGTHS)).mul(37).remainder(90), packed_rows.rows_of(base, LENGTHS, torch.float32)
    for asked in (None, wanted):
        start = base.embed_tokens(ids).detach().requires_grad_()
        hidden = packed.run_packed(base, start, rows, 0, 3, recompute, wanted=asked)
        hidden = hidden[wanted] if asked is None else hidden
        model.zero_grad()
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        found.append({name: p.grad.clone() for name, p in base.named_parameters() if p.grad is not None})
        found[-1] |= {"start": start.grad, "hidden": hidden.detach()}
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        torch.testing.assert_close(
            found[1][name], found[0][name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("learns", "layers"), [("top", 1), ("lora", 3)])
def test_below_the_lowest_layer_that_learns_nothing_is_kept_and_nothing_flows(folder, learns, layers):
    model = model_with(folder, learns)
    base, ids = model.get_decoder(), torch.arange(sum(LENGTHS)).mul(37).remainder(90)
    rows, kept, counts, found = packed_rows.rows_of(base, LENGTHS, torch.float32), [], [], []
    lowest = 3 - layers
    for start, first in (
        (base.embed_tokens(ids), 0),
        (base.embed_tokens(ids).requires_grad_(), 0),
        (base.embed_tokens(ids).requires_grad_(), lowest),
    ):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(1) or t, lambda t: t):
            hidden = packed.run_packed(base, start, rows, first, 3)
        hidden.square().sum().backward()
        found.append({name: p.grad.clone() for name, p in base.named_parameters() if p.grad is not None})
        counts.append(len(kept) - sum(counts))
        model.zero_grad()
    frozen, whole, _ = found
    assert counts[0] == counts[2] and (counts[0] < counts[1]) == (layers < 3)
    assert frozen.keys() == whole.keys() and len(frozen) == layers * 14  # two factors of seven products
    for name in frozen:
        torch.testing.assert_close(frozen[name], whole[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shared", [0, 9, 25])
@pytest.mark.parametrize(
    ("dtype", "has_amx"), [(torch.float32, False), (torch.bfloat16, True), (torch.bfloat16, False)]
)
def test_rows_that_are_read_alone_get_the_same_states(folder, monkeypatch, shared, dtype, has_amx):
    """By fused attention, but for bfloat16 without AMX: there a sequence at a time, with the same bits."""
    monkeypatch.setattr(packed_rows, "QUERIES", 12)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    is_fused = has_amx or dtype == torch.float32
    base, stem = model_with(folder, "full").to(dtype).get_decoder(), [7 * i % 89 for i in range(shared)]
    texts = [stem + [(11 * i + number) % 89 for i in range(n)] for number, n in enumerate((30, 30, 13, 5, 1))]
    fused, found = [], []
    through = packed_attention._attend_fused
    monkeypatch.setattr(packed_attention, "_attend_fused", lambda *a: fused.append(1) or through(*a))
    for read_only in (False, True):
        with torch.inference_mode():
            start, laid = packed_rows.embedded(base, texts, dtype)
            found.append(packed.run_packed(base, start, replace(laid.rows, read_only=read_only), 0, 3)[laid.index])
        assert bool(fused) == (read_only and is_fused)
    near = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(found[1], found[0], **(near if is_fused else {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("learns", ["lora", "full"])
@pytest.mark.parametrize(("recompute", "queries"), [(False, 256), (True, 256), (False, 3)])
def test_what_sequences_begin_with_is_computed_once_and_learns_from_all(
    folder, monkeypatch, learns, recompute, queries
):
    monkeypatch.setattr(packed_rows, "QUERIES", queries)
    model = model_with(folder, learns)
    base, prompt = model.get_decoder(), [7, 31, 5, 5, 60, 2, 9, 13, 4]
    texts = [
        [*prompt, 3, 8, 1],
        [*prompt, 3, 9],
        [44, 2, 6, 1, 1],
        [*prompt, 3, 8, 1],
        prompt[:4],
        [*prompt, *range(20)],
    ]
    ids = torch.tensor([token for text in texts for token in text])
    once = packed_rows.lay(base, texts, torch.float32)
    assert len(once.firsts) == 9 + 3 + 1 + 5 + 20 < len(ids)
    rows, found = packed_rows.rows_of(base, [len(text) for text in texts], torch.float32), []
    for laid, chosen, index in ((rows, slice(None), slice(None)), (once.rows, once.firsts, once.index)):
        start = base.embed_tokens(ids).detach().requires_grad_()
        hidden = packed.run_packed(base, start[chosen], laid, 0, 3, recompute)[index]
        model.zero_grad()
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        found.append({name: p.grad.clone() for name, p in base.named_parameters() if p.grad is not None})
        found[-1] |= {"hidden": hidden.detach(), "start": start.grad.sum(0)}
    assert found[0].keys() == found[1].keys()
    for name, whole in found[0].items():
        near = 1e-5 * float(whole.abs().max())
        torch.testing.assert_close(found[1][name], whole, rtol=1e-5, atol=near, msg=lambda m, n=name: f"{n}: {m}")


def test_a_sequence_does_not_see_its_neighbours(folder):
    model = model_with(folder, "lora")
    base = model.get_decoder()
    ids = torch.arange(8).mul(37).remainder(90)
    rows = packed_rows.rows_of(base, [4, 4], torch.float32)
    before = packed.run_packed(base, base.embed_tokens(ids), rows, 0, 3)
    ids[0] = 5
    after = packed.run_packed(base, base.embed_tokens(ids), rows, 0, 3)
    assert not torch.equal(before[1:4], after[1:4])
    assert torch.equal(before[4:], after[4:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_gives_a_sequence_the_same_bits_whatever_lies_beside_it(folder, dtype):
    base = loading.load_policy(folder, dtype)[0].get_decoder()
    heads, width = base.config.num_key_value_heads, base.layers[0].self_attn.head_dim
    generator, lengths, found = torch.Generator().manual_seed(1), [11, 13, 5, 300], {}
    N, wide = sum(lengths), base.config.num_attention_heads * width
    query, key, value, slope = (
        torch.randn(N, n, generator=generator).to(dtype) for n in (wide, heads * width, heads * width, wide)
    )
    for name, part in (("alone", slice(11, 24)), ("among", slice(0, N))):
        inside = lengths[1:2] if name == "alone" else lengths
        rows = packed_rows.rows_of(base, inside, dtype)
        mixed, saved = packed_attention.attend(query[part], key[part], value[part], rows, 0.2)
        found[name] = mixed, *packed_attention.attend_backward(slope[part], saved, rows, 0.2)
    assert all(torch.equal(alone, among[11:24]) for alone, among in zip(found["alone"], found["among"], strict=True))


def test_a_layout_that_is_not_llamas_is_refused(folder):
    model, _ = loading.load_policy(folder, torch.float32)
    assert packed.packed_agrees(model)
    honest = model.model.layers[0].forward
    model.model.layers[0].forward = lambda *given, **named: 1.3 * honest(*given, **named)
    assert not packed.packed_agrees(model)
    del model.model.layers[0].mlp.gate_proj
    assert not packed.packed_agrees(model)


def test_another_activation_is_refused_because_its_gradient_would_be_silus(folder):
    model, _ = loading.load_policy(folder, torch.float32)
    model.model.layers[-1].mlp.act_fn = torch.nn.GELU()
    assert not packed.packed_agrees(model)


def test_layers_with_a_window_are_refused_though_a_short_comparison_does_not_show_it(folder, caplog):
    model, _ = loading.load_policy(folder, torch.float32)
    assert trunk.cut_agrees(model, 1) and isinstance(decode.decoder_for(model), decode.LlamaDecoder)
    model.config.sliding_window = 64
    assert not packed.packed_agrees(model)
    assert not trunk.cut_agrees(model, 1)
    assert isinstance(decode.decoder_for(model), decode.ModuleDecoder)
    assert "slower: the fast decoder cannot run it: a layer attends to a window" in caplog.text
