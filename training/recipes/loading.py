"""Policy models on disk and in memory: load, encode, hash, save.

A model folder is what transformers and `transformers serve` load: config, safetensors in bfloat16, tokenizer with
chat template and a pad token that is not EOS, generation_config. Everything here is deterministic, so that a
resumed run computes in the same dtype as the one it continues.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from training.run_directory import RecipeFailure

# What changes in config.json without changing the function it describes.
VOLATILE_CONFIG = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")


@functools.cache
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 where the machine multiplies it in hardware, else float32. ASSAY_DTYPE overrules.

    By the processor's flags and not by a timing: a timing that tips over between two attempts would change
    every number after a resume.
    """
    if named := os.environ.get("ASSAY_DTYPE"):
        if named not in ("bfloat16", "float32"):
            raise RecipeFailure(
                "bad_dtype", f"ASSAY_DTYPE is {named!r}.", "Set it to bfloat16 or float32, or not at all, and resume."
            )
        return torch.bfloat16 if named == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    cpu = torch.cpu
    fast = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def load_policy(folder: str | Path, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a model folder, on `device()` in `compute_dtype()`, in eval mode with dropout off.

    The tokenizer pads on the left. Raises RecipeFailure when there is no usable model.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise RecipeFailure(
            "model_missing",
            f"There is no model in {folder}.",
            "Check that the parent model's folder still exists, or import it again.",
        )
    try:
        config = without_dropout(AutoConfig.from_pretrained(folder))
        model: Any = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype or compute_dtype())
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeFailure(
            "model_unreadable", f"The model in {folder} cannot be loaded: {error}", "Import the model again."
        ) from error
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.to(device()).eval(), tokenizer


def load_tokenizer(folder: str | Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise RecipeFailure(
            "no_pad_token",
            f"The tokenizer in {folder} has no pad token of its own.",
            "Import the model with `python -m training.recipes.import_weights`, which chooses one.",
        )
    return tokenizer


def without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    """The same config with every dropout rate at 0: a rate moves the old and new logprobs apart for nothing."""
    for name, value in config.to_dict().items():
        if ("drop" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def encode_prompt(tokenizer: Any, messages: list[dict[str, str]], max_tokens: int) -> list[int]:
    """Token ids of the chat-template prompt, up to where the assistant answers; the last `max_tokens` of them."""
    try:
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    except Exception as error:  # a template raises what it likes: jinja errors, TypeError, KeyError
        raise RecipeFailure(
            "prompt_not_encodable",
            f"The model's chat template does not accept the messages {json.dumps(messages)[:200]}: {error}",
            "Use roles that the template knows (system, user, assistant), or import a model with another template.",
        ) from error
    return list(ids)[-max_tokens:]


def encode_completion(tokenizer: Any, text: str, max_tokens: int) -> list[int]:
    """Token ids of a completion's text, the first `max_tokens`, with no special token and no EOS."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])[:max_tokens]


def eos_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the generation config's, and the tokenizer's own."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return sorted({int(i) for i in [*listed, tokenizer.eos_token_id] if i is not None})


def count_parameters(model: Any) -> int:
    """Each tensor once, so that a tied embedding is not counted twice."""
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def weights_hash(folder: str | Path) -> str:
    """sha256 over the safetensors' names and bytes and the config without what changes no function."""
    folder = Path(folder)
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {name: value for name, value in config.items() if name not in VOLATILE_CONFIG}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def save_policy(model: Any, tokenizer: Any, folder: str | Path) -> None:
    """Write a full model folder in bfloat16, with PEFT adapters merged in; `model` is not to be used afterwards."""
    folder = Path(folder)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.config.use_cache = True
    # Without these, `transformers serve` ignores a request's temperature and answers greedily.
    model.generation_config.do_sample = True
    model.generation_config.top_k = 0
    model.generation_config._from_model_config = False
    save_weights(model, tokenizer, folder)


def save_weights(model: Any, tokenizer: Any, folder: str | Path) -> None:
    """Write a model of any architecture in bfloat16, with its tokenizer, as transformers' Auto classes load it."""
    state = {
        name: tensor.to("cpu", torch.bfloat16) if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in model.state_dict().items()
    }
    _refuse_unusable(state)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


def _refuse_unusable(state: dict[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise RecipeFailure(
                "not_finite",
                f"The weights {name} are not finite: training diverged.",
                "Lower the learning rate and start again.",
            )
