"""An adapter's folder loads by transformers alone, the server's way included."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.support import tiny_model
from training.recipes.common.base_index import write_base_index

IDS = torch.tensor([[7, 30, 41, 52, 12]])


@pytest.fixture(scope="module", params=["one file", "shards"])
def base(request, tmp_path_factory):
    folder = tiny_model.make(tmp_path_factory.mktemp("models") / "base")
    if request.param == "shards":
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="100KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def adapter_of(base, folder) -> torch.Tensor:
    """Write a PEFT adapter over the base; the logits (1, T, V) of the two together.

    Its adapter_config.json names no base that there is: the index alone leads there.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/nowhere"}))
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    with torch.no_grad():
        return model.eval()(IDS).logits


def logits_of(folder) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(IDS).logits


def test_transformers_load_the_trained_model_from_its_folder_alone(base, tmp_path):
    expected = adapter_of(base, tmp_path / "child")
    write_base_index(tmp_path / "child", base)
    assert torch.allclose(logits_of(tmp_path / "child"), expected, atol=1e-5)
    assert not torch.allclose(logits_of(base), expected, atol=1e-2)


def test_base_and_child_may_move_together(base, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(base, data / "models" / "base")
    expected = adapter_of(data / "models" / "base", data / "runs" / "1" / "model")
    write_base_index(data / "runs" / "1" / "model", data / "models" / "base")
    data.rename(tmp_path / "elsewhere")
    assert torch.allclose(logits_of(tmp_path / "elsewhere" / "runs" / "1" / "model"), expected, atol=1e-5)
