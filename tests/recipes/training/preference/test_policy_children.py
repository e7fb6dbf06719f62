"""What DPO, KTO, GRPO and RLOO save is what they trained, also where the parent is itself an adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.recipes.training.preference.test_recipe_dpo_kto import CONFIG as PREFERENCE
from tests.recipes.training.preference.test_recipe_dpo_kto import plain_logprobs
from tests.recipes.training.preference.test_recipe_grpo_rloo import CONFIG as GROUP
from tests.recipes.training.preference.test_recipe_grpo_rloo import FUNCTION
from tests.recipes.training.preference.test_recipe_grpo_rloo import make as make_group
from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import adapter_children, preference_runs
from training.core.run_directory import RunDirectory
from training.recipes import dpo, grpo, kto, rloo
from training.recipes.common import adapters, children, entry, loading
from training.recipes.common.features import decoder_layers
from training.recipes.preference import preference_data, preference_policy
from training.rl.factors import concatenate, cosine, negative
from training.rl.lora import LoRALinear, add_adapters

pytestmark = pytest.mark.usefixtures("one_thread")

MAIN = {"dpo": dpo.main, "kto": kto.main, "grpo": grpo.main, "rloo": rloo.main}
SHORT = GROUP | {"steps": 2, "learning_rate": 1e-3}
IDS = [[5, 9, 40, 17, 3, 66, 21, 8], [30, 2, 11, 77, 54]]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Full weights on bfloat16's grid, as those of every imported model."""
    folder = tmp_path_factory.mktemp("models")
    return adapter_children.base(tiny_model.make(folder / "made"), folder / "base")


@pytest.fixture(scope="module")
def parent(base, tmp_path_factory) -> Path:
    """A child of `base` that answers otherwise: an adapter."""
    model, tokenizer = loading.load_policy(base, torch.float32)
    add_adapters(decoder_layers(model), 4, 8.0, 1)
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRALinear):
                module.lora_b.normal_(std=0.1)
    folder = tmp_path_factory.mktemp("models") / "adapter"
    children.save_child(base, model, tokenizer, folder, IDS)
    return folder


def run_of(kind: str, folder: Path, parent: Path, **config) -> RunDirectory:
    if kind in ("dpo", "kto"):
        chosen = PREFERENCE | {"epochs": 1.0, "learning_rate": 1e-3} | config
        run = preference_runs.make(folder, kind, parent, **chosen)
    else:
        run = make_group(folder, kind, parent, reward_function=FUNCTION, **SHORT | config)
    assert entry.attempt(MAIN[kind], run) == 0, run.failure()
    return run


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float32", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("kind", plain_run_tries("dpo", "grpo", of=MAIN))
def test_a_child_of_an_adapter_starts_at_that_adapter_and_keeps_what_it_learns(
    base, parent, tmp_path, monkeypatch, kind, dtype
):
    monkeypatch.setenv("ASSAY_DTYPE", dtype)
    run = run_of(kind, tmp_path / "run", parent)
    first = preference_runs.metrics(run)[0]["values"]
    moved = first["chosen_reward"] if kind in ("dpo", "kto") else first["kl"]
    assert moved == pytest.approx(0, abs=1e-6), "before the first step, policy and reference are the parent"

    fidelity = run.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999 and fidelity["kl_per_token"] < (1e-2 if dtype == "bfloat16" else 1e-6)
    assert fidelity["rank"] == 4 + 8 and fidelity["dtype"] == "bfloat16"
    assert adapters.base_folder(run.model) == base.resolve()
    before, after = adapters.read_adapter(parent), adapters.read_adapter(run.model)
    assert cosine(concatenate(after, negative(before)), before) < 0.5, "a new direction, beside the parent's"


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_the_reference_of_full_training_is_the_parent_and_not_its_base(parent, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")  # no autocast between the two
    run = run_of(kind, tmp_path / "run", parent, adapters="full", learning_rate=1e-6, steps=1)
    assert preference_runs.metrics(run)[0]["values"]["kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", plain_run_tries("dpo", of=("dpo", "kto")))
def test_held_out_figures_are_those_of_the_folder(parent, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    run = run_of(kind, tmp_path / "run", parent)
    data = preference_data.read(run, loading.load_tokenizer(parent), entry.config_of(run.spec()), run.spec().seed)
    gain = plain_logprobs(run.model, data) - plain_logprobs(parent, data)
    figures = preference_data.held_out_figures(gain, data, 1)
    for name, figure in figures.items():
        assert run.result()["held_out"][name]["value"] == pytest.approx(figure.value)


def test_figures_are_measured_on_what_was_saved_and_not_on_what_was_trained(parent, tmp_path, monkeypatch):
    """A save that keeps nothing: the figures must show it."""
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    honest = children.save_child

    def keeps_nothing(folder, *given, **named):
        return replace(honest(folder, *given, **named), model=loading.load_policy(folder)[0])

    monkeypatch.setattr(preference_policy.children, "save_child", keeps_nothing)
    seen = []
    measure = preference_policy.implicit_rewards
    monkeypatch.setattr(
        preference_policy, "implicit_rewards", lambda *a, **k: seen.append(measure(*a, **k)) or seen[-1]
    )
    run_of("dpo", tmp_path / "run", parent)
    assert np.abs(seen[-1]).max() < 1e-4
