import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.support.training.tiny_llama import llama
from training.rl.trunk import fast_attention, grouped_attention


@pytest.mark.parametrize("heads", [(6, 2), (4, 4), (4, 1)])
def test_values_and_gradients_are_those_of_the_fused_kernel(heads: tuple[int, int]):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, heads[0], 7, 8), (2, heads[1], 7, 8), (2, heads[1], 7, 8)]
    q, k, v = (torch.randn(s, generator=generator, requires_grad=True) for s in shapes)
    ours = grouped_attention(torch.nn.Identity(), q, k, v, None, scaling=0.3)[0].transpose(1, 2)
    fused = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    assert_close(ours, fused)
    upstream = torch.randn(fused.shape, generator=generator)
    assert_close(torch.autograd.grad(ours, (q, k, v), upstream), torch.autograd.grad(fused, (q, k, v), upstream))


def test_it_is_used_within_and_never_after():
    model = llama()
    with fast_attention(model, torch.zeros(1, 8, 4)):
        assert model.config._attn_implementation == "assay_grouped"
    assert model.config._attn_implementation == "sdpa"
    with fast_attention(model, torch.zeros(1, 4096, 4)):
        assert model.config._attn_implementation == "sdpa"  # its scores would not fit
