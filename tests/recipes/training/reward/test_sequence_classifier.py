"""Reward models of other tools come in, and ours leave as transformers' sequence classifiers."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForSequenceClassification

from tests.support import tiny_model
from training.configs.export import ExportConfig
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import loading
from training.recipes.export.__main__ import main as export
from training.recipes.import_weights import import_weights
from training.recipes.reward.reward_model import RewardModel
from training.recipes.reward.sequence_classifier import closing_tokens, write_sequence_classifier

WIDTH, LAYERS = 64, 3
PROMPTS = [[{"role": "user", "content": text}] for text in ("Hello", "What is the sea?", "Hello")]
TEXTS = ["Well met.", "Water, and much of it, with salt.", "x"]


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("trunk") / "tiny")


@pytest.fixture
def ours(trunk, tmp_path) -> Path:
    """Return the folder of a reward model that reads the last token after the last layer."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "ours").mkdir()
    RewardModel(
        method="head", features=((LAYERS, "last"),), weight=torch.randn(WIDTH, generator=generator),
        bias=torch.tensor([0.7]), feature_mean=torch.randn(WIDTH, generator=generator),
        feature_std=torch.rand(WIDTH, generator=generator) + 0.5, trunk_folder=str(trunk),
        trunk_hash=loading.weights_hash(trunk), max_prompt_tokens=64, max_completion_tokens=64,
        score_mean=0.3, score_std=2.0, empty_score=-9.0,
    ).save(tmp_path / "ours")  # fmt: skip
    return tmp_path / "ours"


@pytest.fixture
def theirs(trunk, tmp_path) -> Path:
    """Return the folder of a classifier as TRL's RewardTrainer saves one."""
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(trunk)
    model = LlamaForSequenceClassification.from_pretrained(trunk, num_labels=1, pad_token_id=tokenizer.pad_token_id)
    model.float().save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def logits(folder: Path, sequences: list[list[int]]) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences])


def test_a_reward_model_leaves_and_comes_back_with_the_same_scores(ours, tmp_path):
    before = RewardModel.load(ours)
    scores = before.score(PROMPTS, TEXTS)
    write_sequence_classifier(ours, tmp_path / "left")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "left")
    sequences = [
        loading.encode_prompt(tokenizer, prompt, 64) + loading.encode_completion(tokenizer, text, 64)
        for prompt, text in zip(PROMPTS, TEXTS, strict=True)
    ]
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "left").config
    theirs = logits(tmp_path / "left", sequences) + config.assay["bias"]
    torch.testing.assert_close(theirs, scores, atol=1e-5, rtol=0)

    facts = import_weights(str(tmp_path / "left"), tmp_path / "back")
    after = RewardModel.load(tmp_path / "back")
    assert facts["model_kind"] == "reward"
    torch.testing.assert_close(after.score(PROMPTS, TEXTS), scores, atol=1e-5, rtol=0)
    kept = ("score_mean", "score_std", "empty_score", "max_prompt_tokens", "max_completion_tokens", "closing_tokens")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert after.score(PROMPTS[:1], [""]).tolist() == [-9.0]


def test_a_classifier_of_trl_scores_whole_conversations_as_it_was_trained(theirs, tmp_path):
    import_weights(str(theirs), tmp_path / "in")
    tokenizer = AutoTokenizer.from_pretrained(theirs)
    conversations = [[*p, {"role": "assistant", "content": t}] for p, t in zip(PROMPTS, TEXTS, strict=True)]
    whole = [tokenizer.apply_chat_template(c, tokenize=True, return_dict=False) for c in conversations]
    scores = RewardModel.load(tmp_path / "in").score(PROMPTS, TEXTS)
    torch.testing.assert_close(scores, logits(theirs, whole), atol=1e-5, rtol=0)
    assert len(set(scores.tolist())) == len(TEXTS)


def test_where_the_template_closes_nothing_the_end_of_sequence_does(theirs):
    tokenizer = AutoTokenizer.from_pretrained(theirs)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    assert closing_tokens(tokenizer) == (tokenizer.eos_token_id,)


def test_an_adapter_of_a_classifier_comes_in_merged_with_its_base(trunk, tmp_path):
    torch.manual_seed(2)
    pad = AutoTokenizer.from_pretrained(trunk).pad_token_id
    base = LlamaForSequenceClassification.from_pretrained(trunk, num_labels=1, pad_token_id=pad).float()
    model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "adapter")
    import_weights(str(tmp_path / "adapter"), tmp_path / "in")
    ids = AutoTokenizer.from_pretrained(trunk).apply_chat_template(
        [*PROMPTS[1], {"role": "assistant", "content": TEXTS[1]}], tokenize=True, return_dict=False
    )
    with torch.inference_mode():
        wanted = model.eval()(input_ids=torch.tensor([ids])).logits[0]
    scores = RewardModel.load(tmp_path / "in").score(PROMPTS[1:2], TEXTS[1:2])
    torch.testing.assert_close(scores, wanted, atol=1e-5, rtol=0)


def test_an_adapter_brings_no_weights_from_beside_its_base(trunk, tmp_path):
    shutil.copytree(trunk, tmp_path / "base")
    index = {"weight_map": {"model.norm.weight": "../../theirs/model.safetensors"}}
    (tmp_path / "base" / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "adapter").mkdir()
    about = {"task_type": "SEQ_CLS", "peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(about))
    with pytest.raises(RecipeFailure, match="refers to weights outside its folder"):
        import_weights(str(tmp_path / "adapter"), tmp_path / "in")


def test_a_classifier_whose_tokenizer_cannot_be_read_fails_in_words(theirs, tmp_path):
    (theirs / "tokenizer_config.json").write_text("{")
    with pytest.raises(RecipeFailure, match=r"tokenizer_config.json of .* is no JSON"):
        import_weights(str(theirs), tmp_path / "in")


def test_several_labels_are_no_reward(trunk, tmp_path):
    model = LlamaForSequenceClassification.from_pretrained(trunk, num_labels=2)
    model.save_pretrained(tmp_path / "two")
    AutoTokenizer.from_pretrained(trunk).save_pretrained(tmp_path / "two")
    with pytest.raises(RecipeFailure, match="has 2 labels"):
        import_weights(str(tmp_path / "two"), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_what_reads_other_layers_is_told_how_to_train_it(ours, tmp_path):
    other = RewardModel.load(ours)
    other.features = ((2, "mean"),)
    other.save(ours)
    with pytest.raises(RecipeFailure) as caught:
        write_sequence_classifier(ours, tmp_path / "left")
    assert "reads mean of layer 2" in caught.value.message and "features = final" in caught.value.remedy


def test_an_export_is_an_archive_that_transformers_reads(ours, tmp_path):
    assert ExportConfig(sequence_classifier=True).cross_check().keys() == {"to"}
    run = RunDirectory(tmp_path / "run")
    config = {"to": "safetensors", "sequence_classifier": True}
    run.create(RunSpec("export", config, seed=0, parent=str(ours)), {"card": iter([{"name": "Taste"}])})
    export(run, run.spec())
    with tarfile.open(next((run.path / "export").glob("*.tar"))) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    assert AutoModelForSequenceClassification.from_pretrained(next((tmp_path / "out").iterdir())).config.num_labels == 1
