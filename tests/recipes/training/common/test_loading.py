"""Model folders: imported, loaded, hashed, saved; and how a recipe starts and ends."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.support import tiny_model
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes import import_weights
from training.recipes.common import entry, loading

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def edit_tokenizer(folder: Path, **changes) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_local_folder_is_imported_ready_to_serve(parent, tmp_path):
    (parent / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    facts = import_weights.import_weights(str(parent), tmp_path / "imported")
    generation = json.loads((tmp_path / "imported" / "generation_config.json").read_text())
    assert (generation["do_sample"], generation["top_k"]) == (True, 0)
    assert facts["licence"] == "apache-2.0"
    assert facts["architecture"] == "LlamaForCausalLM"
    assert facts["parameters"] == sum(p.numel() for p in loading.load_policy(parent)[0].parameters())
    assert facts["hash"] == loading.weights_hash(tmp_path / "imported")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "imported")
    assert saved.dtype == torch.bfloat16


def test_an_import_gives_a_model_whose_pad_is_its_end_a_pad_of_its_own(parent, tmp_path):
    source = tiny_model.make(tmp_path / "source")
    edit_tokenizer(source, pad_token="<|im_end|>")
    import_weights.import_weights(str(source), tmp_path / "imported")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "imported")
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert AutoConfig.from_pretrained(tmp_path / "imported").pad_token_id == tokenizer.pad_token_id


def test_a_model_without_a_chat_template_is_refused_and_leaves_nothing(tmp_path, capsys):
    source = tiny_model.make(tmp_path / "source")
    (source / "chat_template.jinja").unlink()
    assert import_weights.main([str(source), str(tmp_path / "out" / "imported")]) == 2
    assert "chat template" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"not a model", b"GGUF and then nothing of the kind"])
def test_what_is_no_model_is_refused_with_a_remedy(tmp_path, capsys, content):
    source = tmp_path / "model.gguf"
    if content is not None:
        source.write_bytes(content)
    assert import_weights.main([str(source), str(tmp_path / "imported")]) == 2
    assert str(source) in capsys.readouterr().err
    assert not (tmp_path / "imported").exists()


def test_an_import_overwrites_nothing(parent, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(RecipeFailure, match="exists already"):
        import_weights.import_weights(str(parent), tmp_path / "there")


def test_dropout_is_off_whatever_the_config_says(tmp_path):
    source = tiny_model.make(tmp_path / "source")
    config = json.loads((source / "config.json").read_text()) | {"attention_dropout": 0.3}
    (source / "config.json").write_text(json.dumps(config))
    model, _ = loading.load_policy(source)
    assert model.config.attention_dropout == 0.0
    assert not model.training


def test_a_folder_without_a_model_is_a_failure_with_a_remedy(tmp_path):
    with pytest.raises(RecipeFailure) as caught:
        loading.load_policy(tmp_path)
    assert caught.value.code == "model_missing"


def test_a_prompt_ends_where_the_assistant_begins_and_keeps_its_last_tokens(parent):
    tokenizer = loading.load_tokenizer(parent)
    whole = loading.encode_prompt(tokenizer, HELLO, 1000)
    assert tokenizer.decode(whole).endswith("Hello<|im_end|>\n<|im_start|>assistant\n")
    assert loading.encode_prompt(tokenizer, HELLO, 5) == whole[-5:]


def test_messages_that_the_template_refuses_are_a_failure(parent):
    tokenizer = loading.load_tokenizer(parent)
    with pytest.raises(RecipeFailure, match="chat template"):
        loading.encode_prompt(tokenizer, [{"role": "user"}, "nonsense"], 10)


def test_the_hash_follows_the_weights_and_not_the_folders_name(parent, tmp_path):
    model, tokenizer = loading.load_policy(parent)
    loading.save_policy(model, tokenizer, tmp_path / "one")
    loading.save_policy(model, tokenizer, tmp_path / "two")
    assert loading.weights_hash(tmp_path / "one") == loading.weights_hash(tmp_path / "two")
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    loading.save_policy(model, tokenizer, tmp_path / "three")
    assert loading.weights_hash(tmp_path / "three") != loading.weights_hash(tmp_path / "one")


def test_a_model_with_adapters_is_not_saved_without_them(parent, tmp_path):
    """Nor merged, as it was: in bfloat16 that loses most of a small update."""
    model, tokenizer = loading.load_policy(parent, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    with pytest.raises(ValueError, match="adapter beside its weights"):
        loading.save_policy(adapted, tokenizer, tmp_path / "bad")


def test_weights_that_are_not_finite_are_never_saved(parent, tmp_path):
    model, tokenizer = loading.load_policy(parent)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(RecipeFailure, match="not finite"):
        loading.save_policy(model, tokenizer, tmp_path / "bad")


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("sft", {}))
    return run


def test_a_foreseen_failure_is_told_in_words(run):
    def fails(_run, _spec):
        raise RecipeFailure("too_few", "There are 3.", "Bring 4.")

    assert entry.attempt(fails, run) == 1
    told = {"code": "too_few", "message": "There are 3.", "remedy": "Bring 4.", "remedy_changes": {}}
    assert run.failure() == told


def test_an_unforeseen_exception_is_a_crash_with_its_own_words(run, capsys):
    assert entry.attempt(lambda _run, _spec: {}["nothing"], run) == 1
    failure = run.failure()
    assert failure["code"] == "crashed"
    assert "KeyError: 'nothing'" in failure["message"]
    assert "Traceback" in capsys.readouterr().err


def test_running_out_of_memory_names_what_to_lower(run):
    def fails(_run, _spec):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")

    entry.attempt(fails, run)
    assert run.failure()["code"] == "out_of_memory"
    assert "batch_size" in run.failure()["remedy"]


def test_a_full_disk_is_called_so_whoever_notices_it(run, tmp_path):
    full = tmp_path / "full.pt"
    full.symlink_to("/dev/full")
    with pytest.raises(RuntimeError) as caught:
        torch.save({"weights": torch.zeros(1_000_000)}, full)
    from_safetensors = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (caught.value, from_safetensors, OSError(errno.EDQUOT, "Disk quota exceeded")):
        assert entry.describe(error).code == "disk_full", error


def test_a_run_that_ended_well_is_not_run_again(run):
    run.finish({"done": True})
    assert entry.attempt(lambda _run, _spec: 1 / 0, run) == 0
    assert run.failure() is None


def test_a_new_attempt_forgets_the_last_ones_failure(run):
    run.fail(RecipeFailure("crashed", "x", "y"))
    assert entry.attempt(lambda _run, _spec: None, run) == 0
    assert run.failure() is None


def test_a_bad_config_names_the_field(run):
    run.create(RunSpec("sft", {"learning_rate": -1.0, "speed": 3}))
    entry.attempt(lambda _run, spec: entry.config_of(spec), run)
    assert run.failure()["code"] == "bad_config"
    assert "learning_rate" in run.failure()["message"] and "speed" in run.failure()["message"]


def test_a_recipe_wants_one_run_directory(tmp_path):
    with pytest.raises(SystemExit) as caught:
        entry.run_recipe(lambda _run, _spec: None, [str(tmp_path)])
    assert caught.value.code == 2


def test_a_dtype_that_nobody_knows_is_refused_in_words(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float16")
    with pytest.raises(RecipeFailure, match="float16") as failure:
        loading.compute_dtype()
    assert "bfloat16 or float32" in failure.value.remedy
