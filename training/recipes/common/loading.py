"""Load policy models from disk, encode, hash and save them.

A model folder is what transformers and `transformers serve` load: config, safetensors, tokenizer with chat template and
a pad token that is not EOS, generation_config. What LoRA has trained is a folder without full weights: an adapter that
names its base (`training.recipes.common.adapters`); whoever loads it here need not know. Everything here is
deterministic, so that a resumed run computes in the same dtype as the one it continues.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from training.core.file_checks.content_hashes import full_weights_hash
from training.core.file_checks.trainable import OTHER_RECIPES
from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters
from training.rl.logprobs import logits_are_products
from training.rl.lora import FrozenLoRA, LoRALinear, apply_update


@functools.cache
def device() -> torch.device:
    """Return the device that recipes compute on: an NVIDIA or AMD GPU, else Apple's, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """Return bfloat16 where the machine multiplies it in hardware, else float32. ASSAY_DTYPE overrules.

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
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)  # a T4 emulates it
        return torch.bfloat16 if in_hardware else torch.float32
    if device().type == "mps":  # bfloat16 is there from macOS 14 on
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float32
    cpu = torch.cpu
    fast = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def repeated_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' "sdpa" does: query (B, Q, T, D), key and value (B, K, S, D) -> (B, T, Q, D).

    It leaves fewer heads of keys than of queries to torch where there is no mask. In float32 no kernel of CUDA takes
    them but the one that keeps all scores: there keys and values are repeated.
    """
    if attention_mask is None and _is_grouped_float32(query, key):
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
        module = SimpleNamespace(is_causal=getattr(module, "is_causal", True))  # one that knows of no groups
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _is_grouped_float32(query: Tensor, key: Tensor) -> bool:
    return query.device.type == "cuda" and query.dtype == torch.float32 and query.shape[1] > key.shape[1]


AttentionInterface.register("sdpa", repeated_attention)
# cuDNN's attention, which torch would choose first on an H100, makes a plan for each shape and keeps it: half a second,
# and batches here have hundreds of shapes.
torch.backends.cuda.enable_cudnn_sdp(False)


def load_policy(folder: str | Path, dtype: torch.dtype | None = None, *, to_split: bool = False) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a model folder, on `device()` in `compute_dtype()`, in eval mode with dropout off.

    `to_split`: on the CPU, from where `sharding.shard` brings each process's share to its GPU.
    An adapter is merged into its base in float32; in bfloat16 it stays beside it (`training.rl.lora.FrozenLoRA`).
    The tokenizer pads on the left. Raises RecipeFailure when there is no usable model.
    """
    options = {"device_map": {"": "cpu"}} if to_split else {}
    return load_as(AutoModelForCausalLM, folder, dtype or compute_dtype(), **options)


def load_as(kind: Any, folder: str | Path, dtype: torch.dtype, **options: Any) -> tuple[Any, Any]:
    """Return (model, tokenizer) by one of transformers' Auto classes, as `load_policy`; `options` are for its
    from_pretrained."""
    folder = Path(folder)
    if not adapters.is_model(folder):
        raise RecipeFailure(
            "model_missing",
            f"There is no model in {folder}.",
            "Check that the parent model's folder still exists, or import it again.",
        )
    base = verified_base(folder)
    try:
        config = without_dropout(AutoConfig.from_pretrained(base))
        model: Any = kind.from_pretrained(base, config=config, dtype=dtype, **options)
        tokenizer = load_tokenizer(folder)
        if adapters.is_adapter(folder):
            apply_update(model, adapters.read_adapter(folder))
            if (folder / "generation_config.json").is_file():
                model.generation_config = GenerationConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeFailure(
            "model_unreadable", f"The model in {folder} cannot be loaded: {error}", "Import the model again."
        ) from error
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return (model if "device_map" in options else model.to(device())).eval(), tokenizer


def require_readable_logits(model: Any) -> None:
    """Raise RecipeFailure for a model whose logits are more than products of its last states and its output layer: a
    loss that is computed from these alone would be another model's."""
    if not logits_are_products(model):
        raise RecipeFailure(
            "unreadable_logits",
            f"The logits of {type(model).__name__} are not products of its last states and its output layer: they "
            "have a bias or a cap, which this recipe would leave out.",
            OTHER_RECIPES,
        )


def verified_base(folder: str | Path) -> Path:
    """Return the folder of the full weights below a model. Raises RecipeFailure when they are not those it was trained
    on."""
    if not adapters.is_adapter(folder):
        return Path(folder)
    base = adapters.base_of(folder)
    if base.hash and base.hash != weights_hash(base.folder):
        raise RecipeFailure(
            "base_changed",
            f"The weights in {base.folder} are not those that the adapter in {folder} was trained on.",
            "Restore that base model, or train again on the one that is there.",
        )
    return base.folder


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
    """Return the same config with every dropout rate at 0: a rate moves the old and new logprobs apart for nothing."""
    for name, value in config.to_dict().items():
        if ("drop" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def encode_prompt(tokenizer: Any, messages: list[dict[str, str]], max_tokens: int) -> list[int]:
    """Return token ids of the chat-template prompt, up to where the assistant answers; the last `max_tokens` of
    them."""
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
    """Return token ids of a completion's text, the first `max_tokens`, with no special token and no EOS."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])[:max_tokens]


def eos_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token that ends an answer: the generation config's, and the tokenizer's own."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return sorted({int(i) for i in [*listed, tokenizer.eos_token_id] if i is not None})


def context_length(model: Any, most: int) -> int:
    """Return how many tokens the model reads at once, `most` at most: of places beyond its window it knows nothing."""
    return min(most, getattr(model.config, "max_position_embeddings", None) or most)


def shared_context(model: Any, prompt: int, answer: int) -> tuple[int, int]:
    """Return how many tokens of a prompt and of its answer the model reads together, so many at most: each has half of
    its window, and what the other does not want."""
    window = context_length(model, prompt + answer)
    answer = min(answer, max(window - prompt, window // 2))
    return min(prompt, window - answer), answer


def count_parameters(model: Any) -> int:
    """Return the number of parameters, each tensor once, so that a tied embedding is not counted twice."""
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def weights_hash(folder: str | Path) -> str:
    """Return the sha256 over the safetensors' names and bytes and the config without what changes no function.

    Of an adapter: over its base's hash and its own weights.
    """
    folder = Path(folder)
    if adapters.is_adapter(folder):
        base = adapters.base_of(folder)
        return adapters.adapter_hash(folder, base.hash or weights_hash(base.folder))
    return full_weights_hash(folder)


def prepare_to_serve(generation: Any) -> None:
    """Set defaults without which `transformers serve` ignores a request's temperature and answers greedily."""
    generation.do_sample = True
    generation.top_k = 0
    generation._from_model_config = False


def save_policy(
    model: Any, tokenizer: Any, folder: str | Path, dtype: torch.dtype = torch.bfloat16,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:  # fmt: skip
    """Write a full model folder in `dtype`, which transformers and `transformers serve` load.

    What LoRA has trained is saved by `training.recipes.common.children.save_child`, and not merged: raises ValueError.
    """
    folder = Path(folder)
    model.config.use_cache = True
    prepare_to_serve(model.generation_config)
    save_weights(model, tokenizer, folder, dtype, weights)


def save_weights(
    model: Any, tokenizer: Any, folder: str | Path, dtype: torch.dtype = torch.bfloat16,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:  # fmt: skip
    """Write a model of any architecture in `dtype`, with its tokenizer, as transformers' Auto classes load it.

    `weights` stand in for the model's own of the same name: float32 masters of what it holds rounded.
    """
    if hasattr(model, "merge_and_unload") or any(isinstance(m, (FrozenLoRA, LoRALinear)) for m in model.modules()):
        raise ValueError("The model has an adapter beside its weights, which alone are another model.")
    state = {
        name: tensor.to("cpu", dtype) if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in _replaced(model.state_dict(), weights or {}).items()
    }
    refuse_unusable(state)
    model.config.dtype = dtype
    model.save_pretrained(folder, state_dict=state)
    save_tokenizer(tokenizer, folder)


def _replaced(state: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with these weights in place of its own, under every name of a tied one."""
    of_place = {state[name].data_ptr(): weight for name, weight in weights.items() if name in state}
    return {name: of_place.get(tensor.data_ptr(), tensor).detach() for name, tensor in state.items()}


def save_tokenizer(tokenizer: Any, folder: str | Path) -> None:
    """Save the tokenizer's files, tokenizer.json without indentation: of the demo's model 1.6 MB and not 3.5."""
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def refuse_unusable(state: dict[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise RecipeFailure(
                "not_finite",
                f"The weights {name} are not finite: training diverged.",
                "Lower the learning rate and start again.",
            )
