"""What leaves of an adapter is the trained model: as GGUF, as an archive, on a hub, and back in again."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.recipes.training.export.test_recipe_export import CARD, logits, made, read_back, shape, tokenizer  # noqa: F401
from tests.support.training import adapter_children
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes import import_weights
from training.recipes.classify.text_classifier import Classifier, Head, load_trunk
from training.recipes.common import adapters, entry, loading
from training.recipes.common.base_index import write_base_index
from training.recipes.export import __main__ as export
from training.recipes.export import merging
from training.recipes.reward.reward_model import RewardModel

SMALL = 2e-4  # of b: most of such an update rounds away in bfloat16
IDS = [5, 90, 140, 17, 3, 66, 21, 8]


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):  # noqa: F811
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    return made(LlamaForCausalLM, LlamaConfig(**shape(tokenizer)), tokenizer, folder)


@pytest.fixture(scope="module")
def parent(base, tmp_path_factory):
    """A chain of two."""
    folder = tmp_path_factory.mktemp("models")
    adapter_children.child(base, folder / "one", size=SMALL)
    adapter_children.child(folder / "one", folder / "two", size=SMALL, seed=2)
    return folder / "two"


def exported(folder: Path, parent: Path, **config) -> RunDirectory:
    run = RunDirectory(folder / "run")
    run.create(RunSpec("export", config, parent=str(parent)), {"card": iter([CARD | {"base": "owner/tiny-base"}])})
    assert entry.attempt(export.main, run) == 0, run.failure()
    return run


def unpacked(run: RunDirectory, folder: Path) -> Path:
    with tarfile.open(run.path / "export" / run.result()["files"][0]["name"]) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.iterdir())


def test_gguf_holds_the_merged_model_in_the_smallest_precision_that_keeps_it(base, parent, tmp_path):
    run = exported(tmp_path, parent, to="gguf")
    fidelity = run.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999 and fidelity["precision"] in ("float16", "float32")
    ours = loading.load_policy(parent, torch.float32)[0]
    got = logits(read_back(run)[0], IDS)
    moved = (logits(loading.load_policy(base, torch.float32)[0], IDS) - logits(ours, IDS)).abs().mean()
    assert (got - logits(ours, IDS)).abs().mean() < 0.05 * moved


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "q8_0"])
def test_gguf_in_any_precision_says_what_it_kept(base, parent, tmp_path, precision):
    run = exported(tmp_path, parent, to="gguf", precision=precision)
    fidelity = run.result()["fidelity"]
    assert fidelity["precision"] == precision
    theirs = read_back(run)[0].state_dict()
    update, dot, norm, of_trained = adapters.read_adapter(parent), 0.0, 0.0, 0.0
    before = dict(adapters.merged_state(base))
    for name, factors in update.items():
        kept, trained = theirs[f"{name}.weight"] - before[f"{name}.weight"], factors.product()
        dot += float((kept * trained).sum())
        norm += float(kept.square().sum())
        of_trained += float(trained.square().sum())
    assert fidelity["cosine"] == pytest.approx(dot / (norm * of_trained) ** 0.5, abs=1e-3)
    assert (fidelity["cosine"] > 0.99999) if precision == "float32" else (fidelity["cosine"] < 1)


def test_full_weights_leave_as_they_are_stored(base, tmp_path):
    run = exported(tmp_path, base, to="gguf")
    assert run.result()["files"][0]["name"].endswith("-bfloat16.gguf") and "fidelity" not in run.result()


def test_an_archive_is_whole_and_tells_nothing_of_this_machine(base, parent, tmp_path):
    run = exported(tmp_path, parent, to="safetensors")
    assert run.result()["fidelity"]["cosine"] > 0.99999
    folder = unpacked(run, tmp_path / "elsewhere")
    assert not any(folder.rglob("adapter_*")) and not (folder / "base.json").exists()
    assert not any(str(base.parent) in path.read_text(errors="ignore") for path in folder.rglob("*.json"))
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.dtype == torch.float32
    assert_close(logits(theirs, IDS), logits(loading.load_policy(parent, torch.float32)[0], IDS), atol=1e-5, rtol=1e-5)
    assert not (run.path / ".whole.partial").exists()


def test_large_weights_leave_in_shards(parent, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "SHARD", 100_000)
    merging.write_merged(parent, tmp_path / "merged")
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 1
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert_close(logits(theirs, IDS), logits(loading.load_policy(parent, torch.float32)[0], IDS), atol=1e-5, rtol=1e-5)


def test_the_adapter_leaves_alone_over_its_bases_name(base, parent, tmp_path):
    run = exported(tmp_path, parent, to="safetensors", adapter=True)
    folder = unpacked(run, tmp_path / "elsewhere")
    body = json.loads((folder / "adapter_config.json").read_text())
    assert body["base_model_name_or_path"] == "owner/tiny-base"
    assert not {"config.json", "base.json", "model.safetensors.index.json"} & {p.name for p in folder.iterdir()}
    from peft import PeftModel

    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    assert_close(logits(theirs, IDS), logits(loading.load_policy(parent, torch.float32)[0], IDS), atol=1e-4, rtol=1e-4)


def test_what_has_no_adapter_cannot_leave_as_one(base, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("export", {"to": "safetensors", "adapter": True}, parent=str(base)), {"card": iter([CARD])})
    assert entry.attempt(export.main, run) == 1 and run.failure()["code"] == "no_adapter"


def test_an_adapter_comes_in_with_its_base_and_needs_nothing_else(base, parent, tmp_path):
    facts = import_weights.import_weights(str(parent), tmp_path / ".import" / "model")
    (tmp_path / ".import" / "model").rename(tmp_path / "imported")
    theirs = loading.load_policy(tmp_path / "imported", torch.float32)[0]
    assert_close(logits(theirs, IDS), logits(loading.load_policy(parent, torch.float32)[0], IDS), atol=1e-4, rtol=1e-4)
    assert adapters.base_folder(tmp_path / "imported") == (tmp_path / "imported" / "base").resolve()
    assert facts["hash"] == loading.weights_hash(tmp_path / "imported")
    assert facts["parameters"] == loading.count_parameters(loading.load_policy(base)[0])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "imported", dtype=torch.float32)  # as the model server does
    assert_close(logits(plain, IDS), logits(theirs, IDS), atol=1e-4, rtol=1e-4)


def test_an_imported_adapter_leaves_with_its_weights_once_and_tells_nothing_of_this_machine(base, parent, tmp_path):
    import_weights.import_weights(str(parent), tmp_path / "imported")
    for name, config in (("merged", {}), ("alone", {"adapter": True})):
        folder = unpacked(
            exported(tmp_path / name, tmp_path / "imported", to="safetensors", **config), tmp_path / f"{name} out"
        )
        assert len(list(folder.rglob("*.safetensors"))) == 1
        texts = [path.read_text(errors="ignore") for path in folder.rglob("*.json")]
        assert not any(str(folder) in text for text in texts for folder in (tmp_path, base.parent, parent.parent))


def test_an_adapter_whose_base_is_gone_names_it(parent, tmp_path, capsys):
    exported_alone = unpacked(exported(tmp_path, parent, to="safetensors", adapter=True), tmp_path / "alone")
    config = json.loads((exported_alone / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/nowhere/at-all"
    (exported_alone / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeFailure, match="/nowhere/at-all") as refused:
        import_weights.import_weights(str(exported_alone), tmp_path / "imported")
    assert refused.value.code == "base_missing"
    assert not (tmp_path / "imported").exists()


PROMPTS = [[{"role": "user", "content": f"Say {n}"}] for n in range(3)]


def test_a_reward_model_leaves_with_its_trunk_merged(parent, tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    folder = tmp_path / "reward"
    shutil.copytree(parent, folder / "trunk")
    write_base_index(folder / "trunk", adapters.base_folder(parent))
    weight = torch.randn(64, generator=torch.Generator().manual_seed(0))
    model = RewardModel(
        method="finetune", features=((2, "mean"),), weight=weight, bias=torch.zeros(1), feature_mean=torch.zeros(64),
        feature_std=torch.ones(64), trunk_folder="trunk", trunk_hash=loading.weights_hash(folder / "trunk"),
        max_prompt_tokens=64, max_completion_tokens=64,
    )  # fmt: skip
    model.save(folder)
    expected = RewardModel.load(folder).score(PROMPTS, ["one", "two", "three"])
    archive = unpacked(exported(tmp_path, folder, to="safetensors"), tmp_path / "elsewhere")
    assert not any(archive.rglob("adapter_*"))
    assert_close(RewardModel.load(archive).score(PROMPTS, ["one", "two", "three"]), expected, atol=1e-4, rtol=1e-4)


def test_a_reward_head_leaves_without_the_place_where_its_trunk_lay(base, tmp_path):
    trunk_hash = loading.weights_hash(base)
    model = RewardModel(
        method="head", features=((2, "mean"),), weight=torch.ones(64), bias=torch.zeros(1),
        feature_mean=torch.zeros(64), feature_std=torch.ones(64), trunk_folder="../tiny-base", trunk_hash=trunk_hash,
        max_prompt_tokens=64, max_completion_tokens=64, trunk_was=str(base),
    )  # fmt: skip
    (tmp_path / "reward").mkdir()
    model.save(tmp_path / "reward")
    run = exported(tmp_path, tmp_path / "reward", to="safetensors")
    archive = unpacked(run, tmp_path / "elsewhere")
    facts = json.loads((archive / "reward.json").read_text())
    assert not facts["trunk_was"] and facts["trunk_hash"] == trunk_hash and "fidelity" not in run.result()


def test_a_classifier_leaves_with_its_trunk_merged(parent, tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    trunk, tokens = load_trunk(parent)
    torch.manual_seed(0)
    head = Head(64, 2)
    torch.nn.init.normal_(head.weight)
    Classifier(trunk, tokens, head, ["yes", "no"], "mean", 64).save(tmp_path / "classifier", parent, "head")
    expected = Classifier.load(tmp_path / "classifier").predict(["A text.", "Another one."])
    archive = unpacked(exported(tmp_path, tmp_path / "classifier", to="safetensors"), tmp_path / "elsewhere")
    found = Classifier.load(archive).predict(["A text.", "Another one."])
    assert found == [pytest.approx(row, abs=1e-4) for row in expected]
