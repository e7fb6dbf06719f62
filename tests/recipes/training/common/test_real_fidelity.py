"""On the bundled model of 135 M parameters, with the small updates of a real run: what is saved is what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.training import preference_runs
from training.core import bundled_model
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes import dpo, import_weights
from training.recipes.common import entry
from training.recipes.export import __main__ as export

pytestmark = [pytest.mark.slow, pytest.mark.thorough]  # of SFT, a reward model and PPO: test_real_children


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    try:
        import_weights.import_weights("bundled", folder)
    except Exception as error:
        if not isinstance(error.__cause__, bundled_model.BundledModelMissing):
            raise
        missing("The small real model", str(error))
    return folder


def run_dpo(folder: Path, parent: Path) -> RunDirectory:
    config = {"epochs": 1.0, "batch_size": 4, "learning_rate": 5e-5, "checkpoint_every": 100, "sample_every": 100}
    run = preference_runs.make(folder, "dpo", parent, prompts=16, **config)
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    return run


def test_dpo_keeps_what_it_trained_in_a_few_megabytes(base, tmp_path, monkeypatch):
    """In bfloat16, where a child of a child may lose what it learnt; the other recipes in float32, too, in
    test_real_children."""
    monkeypatch.setenv("ASSAY_DTYPE", "bfloat16")
    first = run_dpo(tmp_path / "first", base)
    for run, rank in [(first, 8), (run_dpo(tmp_path / "second", first.model), 16)]:
        fidelity = run.result()["fidelity"]
        print(fidelity)
        assert fidelity["cosine"] >= 0.999 and fidelity["rank"] == rank
        assert fidelity["kl_per_token"] < 5e-3
    assert first.result()["fidelity"]["bytes"] < 10e6

    out = RunDirectory(tmp_path / "export")
    out.create(RunSpec("export", {"to": "gguf"}, parent=str(first.model)))
    assert entry.attempt(export.main, out) == 0, out.failure()
    print(out.result())
    assert out.result()["fidelity"]["cosine"] >= 0.999
