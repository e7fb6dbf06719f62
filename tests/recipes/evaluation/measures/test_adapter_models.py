"""Every measure of an adapter is that of the model which was trained: base and adapter, merged in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evaluation.recipes import surprise
from evaluation.recipes.common import likelihood, token_trees
from tests.recipes.evaluation.measures import test_overlap, test_surprise
from tests.support import tiny_model
from tests.support.evaluation.recipe_runs import ended, items_of, laid
from tests.support.training import adapter_children
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import sample
from training.recipes.classify import text_classifier as classifier
from training.recipes.common import entry, loading
from training.recipes.export import merging
from training.recipes.reward.reward_model import RewardModel

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [{"id": n, "messages": [{"role": "user", "content": f"Say {n} words"}]} for n in range(3)]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> SimpleNamespace:
    """A base, a child of a child, and that child as full weights in float32."""
    folder = tmp_path_factory.mktemp("models")
    base = adapter_children.base(tiny_model.make(folder / "made"), folder / "base")
    adapter_children.child(base, folder / "one", size=0.03)
    adapter_children.child(folder / "one", folder / "child", size=0.03, seed=2)
    merging.write_merged(folder / "child", folder / "merged")
    return SimpleNamespace(base=base, child=folder / "child", merged=folder / "merged")


def perplexity(folder: Path, model: Path) -> object:
    texts = [{"text": "A heron waits in the reeds."}, {"text": "Nobody saw it leave."}]
    run = laid(folder, model, {"measure": "perplexity"}, texts=texts)
    ended(run)
    return items_of(run)


def choices(folder: Path, model: Path) -> object:
    rows = [
        {"id": f"c{n}", "question": f"Which {n}?", "choices": ["a heron", "a stone", "the reeds"], "answer": n % 3}
        for n in range(4)
    ]
    run = laid(folder, model, {"measure": "choices"}, other=rows)
    return ended(run) and items_of(run)


def overlap(folder: Path, model: Path) -> object:
    run = test_overlap.run_on(folder, test_overlap.rows(3), model)
    assert run.result(), run.failure()
    return items_of(run)


def sampled(folder: Path, model: Path) -> object:
    run = RunDirectory(folder)
    config = {"completions_per_prompt": 2, "max_new_tokens": 12, "batch_size": 4}
    run.create(RunSpec("sample", config, seed=5, parent=str(model)), {"prompts": iter(PROMPTS)})
    assert entry.attempt(sample.main, run) == 0, run.failure()
    return sorted((row["prompt_id"], row["index"], row["text"]) for row in read_lines(folder / "completions.jsonl"))


def surprised(folder: Path, model: Path) -> object:
    run = test_surprise.make(folder, model)
    assert entry.attempt(surprise.main, run) == 0, run.failure()
    return list(read_lines(next(folder.glob("losses-*.jsonl"))))


def scored(folder: Path, model: Path) -> object:
    """A reward model whose trunk this is."""
    folder.mkdir()
    weight = torch.randn(64, generator=torch.Generator().manual_seed(0))
    RewardModel(
        method="head", features=((2, "mean"),), weight=weight, bias=torch.zeros(1), feature_mean=torch.zeros(64),
        feature_std=torch.ones(64), trunk_folder=str(model), trunk_hash=loading.weights_hash(model),
        max_prompt_tokens=64, max_completion_tokens=64,
    ).save(folder)  # fmt: skip
    prompts = [row["messages"] for row in PROMPTS]
    return RewardModel.load(folder).score(prompts, ["one", "two", "three"]).tolist()


def read_by_a_classifier(folder: Path, model: Path) -> object:
    trunk, _ = classifier.load_trunk(model)
    with torch.inference_mode():
        return trunk(torch.tensor([[5, 9, 40, 17]])).last_hidden_state.float().flatten().tolist()


USES = [perplexity, choices, overlap, sampled, surprised, scored, read_by_a_classifier]


def near(found: object, wanted: object) -> bool:
    if isinstance(wanted, dict):
        return all(near(found[name], value) for name, value in wanted.items())  # type: ignore[index]
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(near, found, wanted))  # type: ignore[arg-type]
    return found == (pytest.approx(wanted, rel=1e-3, abs=1e-4) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_an_adapter_is_the_merged_model(models, tmp_path, monkeypatch, use: Callable[[Path, Path], object]):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    found, wanted, of_base = (use(tmp_path / name, getattr(models, name)) for name in ("child", "merged", "base"))
    assert wanted and near(found, wanted)
    assert not near(found, of_base), "an adapter that nobody reads would pass, too"


def test_in_bfloat16_it_is_the_merged_model_within_rounding(models, tmp_path, monkeypatch):
    """By trees and by plain forwards alike."""
    pairs = [token_trees.Pair((5, 9, 40), (17, 3, 66)), token_trees.Pair((5, 9, 40), (21, 8))]

    def of(name: str, dtype: str) -> list[float]:
        monkeypatch.setenv("ASSAY_DTYPE", dtype)
        run = RunDirectory(tmp_path / f"{name}-{dtype}")
        run.create(RunSpec("evaluate", {}))
        model, _ = likelihood.load(str(getattr(models, name)))
        score = likelihood.score(run, model, pairs, batch_tokens=64, phase="p", name="n")
        return [one.log_likelihood for one in score]

    wanted, of_base = of("merged", "float32"), of("base", "float32")
    for x, y, z in zip(of("child", "bfloat16"), wanted, of_base, strict=True):
        assert abs(x - y) < 0.1 * abs(y - z) + 0.05
