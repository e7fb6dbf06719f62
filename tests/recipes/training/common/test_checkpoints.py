"""Checkpoints are data: read without running what is in them, and onto the machine that reads them."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[4]
OURS = [
    path
    for folder in ("common", "annotate", "training", "evaluation", "config")
    for path in (ROOT / folder).rglob("*.py")
]
CALL = re.compile(r"torch\.load\((?:[^()]|\([^()]*\))*\)")


@pytest.fixture
def fresh_generators():
    import random

    import torch

    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(kept[0])
    np.random.set_state(kept[1])
    torch.set_rng_state(kept[2])


def test_no_checkpoint_is_unpickled():
    assert len(OURS) > 100
    assert [path for path in OURS if "weights_only=False" in path.read_text(encoding="utf-8")] == []


def test_every_checkpoint_says_where_it_is_loaded():
    calls = {path: CALL.findall(path.read_text(encoding="utf-8")) for path in OURS}
    assert sum(map(len, calls.values())) >= 3
    assert [
        (p, c) for p, cs in calls.items() for c in cs if "map_location" not in c or "weights_only=True" not in c
    ] == []


def _learner():
    import torch

    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(3, 2))
    return weight, torch.optim.AdamW([weight], lr=0.1)


def _step(weight, optimiser) -> None:
    optimiser.zero_grad()
    (weight * weight).sum().backward()
    optimiser.step()


def _draws() -> list[float]:
    import random

    import torch

    return [random.random(), float(np.random.normal()), float(torch.rand(()))]


def test_a_checkpoint_brings_back_weights_optimiser_generators_and_extra(tmp_path, fresh_generators):
    import torch

    from training.recipes.common import steps

    weight, optimiser = _learner()
    _step(weight, optimiser)
    np.random.normal()  # which leaves a second number waiting
    steps.save_state(tmp_path, parameters={"w": weight}, optimiser=optimiser, extra={"standing": {"step": 1}})
    expected = _draws()
    _step(weight, optimiser)

    other, its_optimiser = _learner()
    extra = steps.load_state(tmp_path, parameters={"w": other}, optimiser=its_optimiser)
    assert extra == {"standing": {"step": 1}}
    assert _draws() == expected
    _step(other, its_optimiser)
    assert torch.equal(weight, other)


def test_a_checkpoint_of_an_earlier_version_is_still_read(tmp_path, fresh_generators):
    import random

    import torch
    from safetensors.torch import save_file

    from training.recipes.common import steps

    weight, optimiser = _learner()
    save_file({"w": weight.detach()}, tmp_path / "weights.safetensors")
    as_it_was = {
        "optimiser": optimiser.state_dict(), "torch": torch.get_rng_state(), "cuda": [],
        "numpy": np.random.get_state(), "python": random.getstate(), "extra": {"step": 7},
    }  # fmt: skip
    torch.save(as_it_was, tmp_path / "state.pt")
    expected = _draws()
    assert steps.load_state(tmp_path, parameters={"w": weight}, optimiser=optimiser) == {"step": 7}
    assert _draws() == expected


class _Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('a checkpoint ran code')",)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path, fresh_generators):
    import torch
    from safetensors.torch import save_file

    from training.core.run_directory import RecipeFailure
    from training.recipes.common import steps

    weight, optimiser = _learner()
    save_file({"w": weight.detach()}, tmp_path / "weights.safetensors")
    torch.save({"extra": _Trap()}, tmp_path / "state.pt")
    with pytest.raises(RecipeFailure, match="cannot be read") as refused:
        steps.load_state(tmp_path, parameters={"w": weight}, optimiser=optimiser)
    assert refused.value.code == "checkpoint_unreadable"


def test_a_checkpoint_whose_fault_has_no_text_is_refused_too(tmp_path, monkeypatch, fresh_generators):
    import torch
    from safetensors.torch import save_file

    from training.core.run_directory import RecipeFailure
    from training.recipes.common import steps

    def end_early(*args, **options):
        raise EOFError

    weight, optimiser = _learner()
    save_file({"w": weight.detach()}, tmp_path / "weights.safetensors")
    monkeypatch.setattr(torch, "load", end_early)
    with pytest.raises(RecipeFailure, match="cannot be read: EOFError"):
        steps.load_state(tmp_path, parameters={"w": weight}, optimiser=optimiser)


def test_the_trainer_of_trl_reads_its_generators_without_unpickling(tmp_path, monkeypatch, fresh_generators):
    import torch
    from transformers import Trainer, TrainingArguments

    loads = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **named: loads.append(named) or real(*given, **named))
    trainer = Trainer(
        torch.nn.Linear(2, 2), TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    )
    trainer._save_rng_state(str(tmp_path))
    expected = _draws()
    trainer._load_rng_state(str(tmp_path))
    assert _draws() == expected
    assert loads and all(named["weights_only"] is True for named in loads)
