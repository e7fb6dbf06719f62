"""A served child is its base's own weights and the adapter's factors, and leaves the base as it was."""

from __future__ import annotations

import torch

from tests.support import tiny_model
from tests.support.training import adapter_children
from training.recipes.common import loading
from training.recipes.serve import child_of


def test_a_child_shares_every_weight_and_changes_no_answer_of_its_base(tmp_path):
    base_folder = tiny_model.make(tmp_path / "base")
    for seed in (1, 2):
        adapter_children.child(base_folder, tmp_path / f"child-{seed}", seed=seed)
    base, _ = loading.load_policy(base_folder, torch.float32)
    before = adapter_children.logits(base)
    children = [child_of(base, tmp_path / f"child-{seed}") for seed in (1, 2)]
    weights = {tensor.data_ptr() for tensor in base.parameters()}
    for seed, child in zip((1, 2), children, strict=True):
        own = [tensor for name, tensor in child.named_parameters() if "lora" in name]
        others = [tensor for name, tensor in child.named_parameters() if "lora" not in name]
        assert own and {tensor.data_ptr() for tensor in others} == weights
        alone, _ = loading.load_policy(tmp_path / f"child-{seed}", torch.float32)
        torch.testing.assert_close(adapter_children.logits(child), adapter_children.logits(alone), atol=2e-3, rtol=1e-3)
    assert torch.equal(adapter_children.logits(base), before)
    assert not torch.allclose(adapter_children.logits(children[0]), adapter_children.logits(children[1]), atol=1e-2)
