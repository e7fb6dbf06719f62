"""Read and write reward models as other tools have them: sequence classifiers of one label.

transformers' `AutoModelForSequenceClassification` scores a sequence by a linear head on the state of its last token,
after the last layer and its norm. TRL's `RewardTrainer` saves that, GRPO's `reward_funcs` load it. So

- one of theirs becomes a reward model with a trunk of its own and the one feature (last layer, "last");
- ours that reads that feature alone (`features: final`) leaves as theirs, its standardised features folded into the
  head: score = state @ (w / std) + (bias - mean @ (w / std)). Their head has no bias, so the constant stays in
  `config.json` under `assay`, with the rest that only we need; it changes no order.

Theirs were trained on whole conversations, in which the chat template closes the answer: the tokens by which it does so
are read off the template and follow each completion (`RewardModel.closing_tokens`). Ours were trained without.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from common.texts import first_line
from training.core.folder_hash import folder_hash
from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters, loading
from training.recipes.reward.reward_model import RewardModel

SUFFIX = "ForSequenceClassification"
OURS = "assay"  # the key of config.json below which stands what transformers has no place for
_FACTS = ("score_mean", "score_std", "empty_score", "max_prompt_tokens", "max_completion_tokens", "tie_threshold")
_MOST_TOKENS = 4096  # of a prompt, and of a completion, where nobody says how long they were in training
_PROBE = "Assay reads here how an answer ends"


def is_sequence_classifier(config: dict[str, Any]) -> bool:
    """Return whether that config.json, or adapter_config.json, is a sequence classifier's."""
    named = config.get("architectures") or [""]
    return str(named[0]).endswith(SUFFIX) or config.get("task_type") == "SEQ_CLS"


def write_reward_model(model: Any, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Write a loaded sequence classifier as a reward model's folder; return architecture, parameters and hash.

    Raises RecipeFailure for more than one label, and for a trunk that is no causal language model's.
    """
    if model.config.num_labels != 1:
        raise RecipeFailure(
            "not_one_label",
            f"The sequence classifier has {model.config.num_labels} labels.",
            "A reward model has one, whose logit is the score: import a classifier with num_labels = 1.",
        )
    ours = getattr(model.config, OURS, None) or {}
    trunk = _causal(model)
    dtype = next(model.parameters()).dtype
    loading.save_policy(trunk, tokenizer, folder / "trunk", dtype)
    head = model.score
    width = head.weight.shape[1]
    bias = float(head.bias) if head.bias is not None else 0.0
    half = min((getattr(model.config, "max_position_embeddings", None) or 2 * _MOST_TOKENS) // 2, _MOST_TOKENS)
    limits = {"max_prompt_tokens": half, "max_completion_tokens": half}
    reward = RewardModel(
        method="finetune",
        features=((model.config.num_hidden_layers, "last"),),
        weight=head.weight.detach().float().flatten(),
        bias=torch.tensor([bias + ours.get("bias", 0.0)]),
        feature_mean=torch.zeros(width),
        feature_std=torch.ones(width),
        trunk_folder="trunk",
        trunk_hash=loading.weights_hash(folder / "trunk"),
        closing_tokens=tuple(ours["closing_tokens"]) if ours else closing_tokens(tokenizer),
        **{**limits, **{name: ours[name] for name in _FACTS if name in ours}},
    )
    reward.save(folder)
    return {
        "architecture": type(model).__name__,
        "parameters": loading.count_parameters(trunk) + width,
        "hash": folder_hash(folder),
        "model_kind": "reward",
    }


def load(source: str, base: str = "") -> tuple[Any, Any]:
    """Return (model, tokenizer) of a sequence classifier, in the dtype of its file. `base`: the source is an adapter
    over it, and is merged in float32. Raises RecipeFailure where it cannot be read."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        if not base:
            model: Any = AutoModelForSequenceClassification.from_pretrained(source, dtype="auto")
            return model, AutoTokenizer.from_pretrained(source)
        from peft import PeftModel

        below = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        merged: Any = PeftModel.from_pretrained(below, source).merge_and_unload()
        has_tokenizer = (Path(source) / "tokenizer_config.json").is_file()
        return merged, AutoTokenizer.from_pretrained(source if has_tokenizer else base)
    except Exception as error:
        raise RecipeFailure(
            "not_a_model",
            f"{source} cannot be read as a sequence classifier: {first_line(error).rstrip('.')}.",
            "It must be a model that transformers' AutoModelForSequenceClassification reads.",
        ) from error


def closing_tokens(tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens by which the chat template closes an answer; the end-of-sequence token where it does not."""
    conversation = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    text = tokenizer.apply_chat_template(conversation, tokenize=False)
    closing = text.rpartition(_PROBE)[2]
    ids = tokenizer(closing, add_special_tokens=False)["input_ids"] if closing else [tokenizer.eos_token_id]
    return tuple(int(i) for i in ids)


def require_exportable(folder: Path) -> RewardModel:
    """Return the reward model of a folder. Raises RecipeFailure where no sequence classifier can say what it says."""
    reward = RewardModel.load(folder)
    layers = count_layers(Path(reward.trunk_folder))
    if reward.features != ((layers, "last"),):
        read = ", ".join(f"{pooling} of layer {layer}" for layer, pooling in reward.features)
        raise RecipeFailure(
            "not_a_sequence_classifier",
            f"This reward model reads {read}; a sequence classifier reads the last token after layer {layers} alone.",
            "Train the reward model with features = final, or export it as safetensors for Assay.",
        )
    return reward


def count_layers(folder: Path) -> int:
    """Return the number of blocks of a model's folder."""
    config = json.loads((adapters.base_folder(folder) / "config.json").read_text(encoding="utf-8"))
    return int(config["num_hidden_layers"])


def write_sequence_classifier(source: Path, target: Path) -> None:
    """Write a reward model, in float32, as transformers' AutoModelForSequenceClassification reads it, with tokenizer.

    Raises RecipeFailure as `require_exportable`, and where transformers has no such class for the trunk.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    reward = require_exportable(source)
    trunk, tokenizer = loading.load_policy(reward.trunk_folder, torch.float32)
    weights = _merged(Path(reward.trunk_folder), trunk)
    folded, bias = folded_head(reward)
    shape = {name: value for name, value in trunk.config.to_dict().items() if name not in ("id2label", "label2id")}
    config = AutoConfig.for_model(**shape | {"num_labels": 1, "pad_token_id": tokenizer.pad_token_id})
    config.dtype = torch.float32
    try:
        with torch.device("meta"):
            kind = type(AutoModelForSequenceClassification.from_config(config))
    except ValueError as error:
        raise RecipeFailure(
            "no_such_class",
            f"transformers has no sequence classifier of a {trunk.config.model_type}.",
            "Export it as safetensors for Assay.",
        ) from error
    config.architectures = [kind.__name__]
    facts = {name: getattr(reward, name) for name in _FACTS}
    setattr(config, OURS, facts | {"bias": bias, "closing_tokens": list(reward.closing_tokens)})
    target.mkdir(parents=True)
    config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    save_file(weights | {"score.weight": folded[None]}, target / "model.safetensors", metadata={"format": "pt"})


def folded_head(reward: RewardModel) -> tuple[Tensor, float]:
    """Return the head on raw states: weight (H,) float32 and bias."""
    weight = reward.weight.double() / reward.feature_std.double()
    bias = float(reward.bias.double() - reward.feature_mean.double() @ weight)
    return weight.float().cpu().contiguous(), bias


def _merged(folder: Path, trunk: Any) -> dict[str, Tensor]:
    """Return the weights below the language-model head, adapters merged in float32, by the names of the classifier."""
    prefix = f"{trunk.base_model_prefix}."
    return {n: tensor.contiguous() for n, tensor in adapters.merged_state(folder) if n.startswith(prefix)}


def _causal(model: Any) -> Any:
    """Return a causal language model on the classifier's trunk, whose own head is the embedding: nobody reads it."""
    from transformers import AutoModelForCausalLM

    config = type(model.config).from_dict(model.config.to_dict())
    config.tie_word_embeddings = True
    config.architectures = None
    if hasattr(config, OURS):
        delattr(config, OURS)
    trunk = getattr(model, model.base_model_prefix)
    try:
        causal: Any = AutoModelForCausalLM.from_config(config, dtype=next(model.parameters()).dtype)
        getattr(causal, causal.base_model_prefix).load_state_dict(trunk.state_dict())
    except (ValueError, RuntimeError, AttributeError) as error:
        raise RecipeFailure(
            "not_a_decoder",
            f"The trunk of {type(model).__name__} is no causal language model's.",
            "A reward model here reads a decoder, such as Llama, Qwen, Mistral or Gemma.",
        ) from error
    causal.tie_weights()
    causal.config.architectures = [type(causal).__name__]
    return causal
