"""A frozen update beside a layer: whatever kind of linear layer it is, and whatever is put on top."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from training.rl.factors import Factors
from training.rl.lora import FrozenLoRA, LoRALinear, Switch, factors_beside, freeze


class Doubling(torch.nn.Linear):
    """As a layer in 4 bits, it multiplies in a way of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def factors(rank: int = 3) -> Factors:
    generator = torch.Generator().manual_seed(rank)
    return Factors(torch.randn(rank, 8, generator=generator), torch.randn(5, rank, generator=generator))


@pytest.mark.parametrize("kind", [torch.nn.Linear, Doubling])
def test_a_frozen_update_is_added_to_what_the_layer_computes(kind):
    layer, update, x = kind(8, 5), factors(), torch.randn(4, 8)
    before, names = layer(x).detach(), set(layer.state_dict())
    freeze(layer, update)
    assert isinstance(layer, kind) and isinstance(layer, FrozenLoRA)
    assert set(layer.state_dict()) == names
    wanted = before + x @ update.product().T
    assert_close(layer(x), wanted)
    assert_close(copy.deepcopy(layer)(x), wanted)


def test_an_adapter_over_it_switches_back_to_the_parent_and_learns_alone():
    layer, x = torch.nn.Linear(8, 5), torch.randn(4, 8)
    freeze(layer, factors())
    parent, switch = layer(x).detach(), Switch()
    adapted = LoRALinear(layer, 2, 4.0, switch, torch.Generator().manual_seed(0))
    adapted.lora_b.data.normal_()
    with switch.off():
        assert torch.equal(adapted(x), parent)
        assert factors_beside(adapted).rank == 3
    assert_close(adapted(x), parent + x @ adapted.factors().product().T)
    assert factors_beside(adapted).rank == 5
    adapted(x).sum().backward()
    assert adapted.lora_a.grad is not None and layer.weight.grad is None


def test_an_update_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        freeze(torch.nn.Linear(9, 5), factors())
