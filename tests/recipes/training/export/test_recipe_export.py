"""A model as files for other programs: the same function in another wrapping."""

from __future__ import annotations

import hashlib
import json
import tarfile

import gguf
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.support import tiny_model
from tests.support.training import preference_runs
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes import gguf_source, import_weights
from training.recipes.common import entry, loading
from training.recipes.export import __main__ as export

TEXT = "The quick brown fox jumps over the lazy dog and writes some text about what it saw"
CARD = {"name": "Tiny: the second!", "licence": "apache-2.0", "readme": "# Tiny\n\nMade of nothing."}


@pytest.fixture(scope="module")
def tokenizer():
    """Learnt from a few words: byte-level BPE that has merges, unlike the other tests' one token per byte."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    learnt.train_from_iterator([f"{TEXT} {n} times" for n in range(40)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=learnt, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = tiny_model.TEMPLATE
    return fast


@pytest.fixture(scope="module")
def parent(tmp_path_factory, tokenizer):
    return made(LlamaForCausalLM, LlamaConfig(**shape(tokenizer)), tokenizer, tmp_path_factory.mktemp("m") / "tiny")


def shape(tokenizer, **other):
    return {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    } | other  # fmt: skip


def made(architecture, config, tokenizer, folder):
    torch.manual_seed(1)
    model = architecture(config)
    with torch.no_grad():
        model.lm_head.weight *= 20  # answers that differ by more than what nearness forgives
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def exported(tmp_path, parent, **config) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("export", config, parent=str(parent)), {"card": iter([CARD])})
    return run


def logits(model, ids):
    with torch.inference_mode():
        return model.eval()(torch.tensor([ids])).logits


def read_back(run: RunDirectory):
    name = run.result()["files"][0]["name"]
    folder = run.path / "export"
    return (
        AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder, gguf_file=name),
    )


@pytest.mark.parametrize(
    ("precision", "near"), [("float32", 1e-5), ("bfloat16", 1e-5), ("float16", 1e-3), ("q8_0", 0.05)]
)
def test_a_gguf_file_holds_the_same_function(parent, tmp_path, precision, near):
    run = exported(tmp_path, parent, to="gguf", precision=precision)
    assert entry.attempt(export.main, run) == 0, run.failure()
    theirs, _ = read_back(run)
    ours, tokenizer = loading.load_policy(parent, torch.float32)
    ids = loading.encode_prompt(tokenizer, preference_runs.prompt(3), 100)
    expected, got = logits(ours, ids), logits(theirs, ids)
    assert (expected - got).abs().max() <= near * expected.abs().max()
    assert expected.abs().max() > 1  # or else nearness would mean nothing


def test_an_import_of_it_gives_the_same_model_and_parses_the_file_once(parent, tmp_path, monkeypatch):
    run = exported(tmp_path, parent, to="gguf", precision="bfloat16")
    assert entry.attempt(export.main, run) == 0, run.failure()
    file = run.path / "export" / run.result()["files"][0]["name"]
    parsed = []

    class Reader(gguf.GGUFReader):
        def __init__(self, path, *mode):
            parsed.append(path)
            super().__init__(path, *mode)

    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    facts = import_weights.import_weights(str(file), tmp_path / "imported")
    assert len(parsed) == 1 and gguf.GGUFReader is Reader
    assert facts["licence"] == gguf_source.licence(file) == CARD["licence"]
    expected, got = (loading.load_policy(folder, torch.bfloat16)[0] for folder in (parent, tmp_path / "imported"))
    for (name, ours), theirs in zip(expected.named_parameters(), got.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_its_tokenizer_cuts_text_alike_and_keeps_the_chat_template(parent, tmp_path):
    run = exported(tmp_path, parent, to="gguf", precision="float32")
    assert entry.attempt(export.main, run) == 0, run.failure()
    _, theirs = read_back(run)
    ours = loading.load_tokenizer(parent)
    text = f"<|im_start|>{TEXT}, 12 words.\n  And more: é 漢!<|im_end|>"
    assert theirs(text)["input_ids"] == ours(text)["input_ids"]
    assert len(ours(text)["input_ids"]) < len(text) / 2
    assert theirs.chat_template == ours.chat_template
    assert (theirs.eos_token, theirs.pad_token) == (ours.eos_token, ours.pad_token)


@pytest.mark.parametrize("tied", [True, False])
def test_grouped_heads_and_a_tied_output_layer_come_through(tokenizer, tmp_path, tied):
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 48}
    own = {"tie_word_embeddings": tied, "rope_theta": 50000.0, "vocab_size": len(tokenizer) + 3}
    config = LlamaConfig(**shape(tokenizer, **heads, **own))
    same_function(made(LlamaForCausalLM, config, tokenizer, tmp_path / "model"), tmp_path)


def test_an_architecture_whose_heads_are_not_interleaved_comes_through(tokenizer, tmp_path):
    config = Qwen3Config(**shape(tokenizer, head_dim=128, tie_word_embeddings=False))
    same_function(made(Qwen3ForCausalLM, config, tokenizer, tmp_path / "model"), tmp_path)


def same_function(folder, tmp_path) -> None:
    run = exported(tmp_path, folder, to="gguf", precision="float32")
    assert entry.attempt(export.main, run) == 0, run.failure()
    ids = [5, 17, 3, 60, 8]
    ours = loading.load_policy(folder, torch.float32)[0]
    torch.testing.assert_close(logits(read_back(run)[0], ids), logits(ours, ids), atol=1e-4, rtol=1e-4)


def test_an_archive_is_the_folder_with_its_card_and_the_same_each_time(parent, tmp_path):
    hashes = []
    for attempt in ("one", "two"):
        run = exported(tmp_path / attempt, parent, to="safetensors")
        assert entry.attempt(export.main, run) == 0, run.failure()
        (file,) = run.result()["files"]
        path = run.path / "export" / file["name"]
        assert file == {"name": "Tiny-the-second.tar", "bytes": path.stat().st_size, "sha256": file["sha256"]}
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        hashes.append(file["sha256"])
    assert hashes[0] == hashes[1]
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    folder = tmp_path / "out" / "Tiny-the-second"
    assert (folder / "README.md").read_text() == CARD["readme"]
    assert loading.weights_hash(folder) == loading.weights_hash(parent)


@pytest.mark.parametrize("name", ["tokenizer.json", "reward.json", "classifier.json"])
def test_what_is_not_a_whole_model_is_archived_too(tmp_path, name):
    folder = tmp_path / "head"
    folder.mkdir()
    (folder / name).write_text("{}")
    run = exported(tmp_path, folder, to="safetensors")
    assert entry.attempt(export.main, run) == 0
    with tarfile.open(run.path / "export" / run.result()["files"][0]["name"]) as tar:
        assert {member.name.rsplit("/", 1)[1] for member in tar} == {name, "README.md"}


def test_an_empty_folder_is_no_model(tmp_path):
    run = exported(tmp_path, tmp_path, to="safetensors")
    assert entry.attempt(export.main, run) == 1
    assert run.failure()["code"] == "model_missing"


def test_a_model_that_cannot_be_converted_is_told_with_another_way(parent, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    run = exported(tmp_path, folder, to="gguf")
    assert entry.attempt(export.main, run) == 1
    assert run.failure()["code"] == "not_convertible" and "safetensors" in run.failure()["remedy"]
    assert not (run.path / "export").exists()


def test_without_a_token_nothing_is_sent_to_a_hub(parent, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    run = exported(tmp_path, parent, to="hub", repository="me/tiny")
    assert entry.attempt(export.main, run) == 1
    assert run.failure()["code"] == "no_token"


def test_a_hub_that_cannot_be_reached_is_told(parent, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    run = exported(tmp_path, parent, to="hub", repository="me/tiny")
    assert entry.attempt(export.main, run) == 1
    assert run.failure()["code"] == "hub_unreachable"
