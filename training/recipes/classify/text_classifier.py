"""Hold a text classifier on disk and in memory: a trunk, pooled, and a linear head in float32.

model/                    the trunk as `transformers.AutoModel` loads it, with its tokenizer; after LoRA an adapter over
                          the parent's base (`training.recipes.common.adapters`)
model/classifier.json     labels, pooling, max_length
model/head.safetensors    weight (K, H), bias (K,), feature_mean (H,), feature_std (H,)

classifier = Classifier.load("model")
classifier.predict(["A warm and funny film."])       # [{"positive": 0.98, "negative": 0.02}]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel

from training.core.run_directory import RecipeFailure, Row
from training.recipes.common import adapters, children, loading

Pair = tuple[str, str]  # a text and a second one, "" without


class Head(torch.nn.Module):
    """Logits (B, K) of pooled features (B, H), standardised by the training texts' own mean and deviation."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(classes, width))  # every label alike to begin with
        self.bias = torch.nn.Parameter(torch.zeros(classes))
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_std", torch.ones(width))

    def standardise_by(self, features: Tensor) -> None:
        self.feature_mean.copy_(features.mean(dim=0))
        self.feature_std.copy_(features.std(dim=0, correction=0).clamp(min=1e-4))

    def forward(self, features: Tensor) -> Tensor:
        return (features.float() - self.feature_mean) / self.feature_std @ self.weight.T + self.bias


@dataclass
class Classifier:
    trunk: Any
    tokenizer: Any
    head: Head
    labels: list[str]
    pooling: str
    max_length: int

    @classmethod
    def load(cls, folder: str | Path) -> Classifier:
        """Load a classifier. Raises RecipeFailure when the folder holds none."""
        folder = Path(folder)
        if not (folder / "classifier.json").is_file():
            raise RecipeFailure(
                "not_a_classifier", f"{folder} has no classifier.", "Choose the model of a classify run."
            )
        facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        trunk, tokenizer = load_trunk(folder)
        tensors = load_file(folder / "head.safetensors")
        head = Head(tensors["weight"].shape[1], len(facts["labels"]))
        head.load_state_dict(tensors)
        return cls(trunk, tokenizer, head.to(loading.device()), **facts)

    def save(self, folder: Path, parent: Path | None = None, learnt: str = "full") -> Row:
        """Write the classifier; return the trunk's fidelity. `learnt`: "head", "lora" or "full", on the trunk of
        `parent`."""
        fidelity = self._save_trunk(folder, parent, learnt)
        loading.save_tokenizer(self.tokenizer, folder)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in self.head.state_dict().items()},
            folder / "head.safetensors",
        )
        facts = {"labels": self.labels, "pooling": self.pooling, "max_length": self.max_length}
        (folder / "classifier.json").write_text(
            json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
        return fidelity

    def _save_trunk(self, folder: Path, parent: Path | None, learnt: str) -> Row:
        """Write the trunk: an adapter where adapters have learnt, or where nothing has and the parent is one; else full
        weights."""
        prefix, rank, shrunk = f"{self.trunk.base_model_prefix}.", None, None
        if parent and (learnt == "lora" or (learnt == "head" and adapters.is_adapter(parent))):
            trained = adapters.trained_factors(self.trunk)
            cosine, rank, shrunk, dtype = children.write_child(parent, trained, folder, prefix)
        else:
            cosine, dtype = children.kept_by(parent, self.trunk.state_dict(), prefix) if parent else (1, torch.bfloat16)
            loading.save_weights(self.trunk, self.tokenizer, folder, dtype)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        dtype_name = str(dtype).removeprefix("torch.")
        return asdict(children.Fidelity(cosine, None, rank, size, shrunk, dtype_name))

    def predict(self, texts: Sequence[str | Pair], batch_size: int = 32) -> list[dict[str, float]]:
        """Return for each text the probability of every label, the likeliest first."""
        pairs = [(t, "") if isinstance(t, str) else t for t in texts]
        if empty := [i for i, (text, _) in enumerate(pairs) if not text.strip()]:
            raise RecipeFailure("empty_text", f"Text {empty[0] + 1} is empty.", "Enter text to classify.")
        probabilities = self.probabilities(
            [encode(self.tokenizer, *pair, self.max_length) for pair in pairs], batch_size
        )
        labelled_rows = [dict(zip(self.labels, row, strict=True)) for row in probabilities.tolist()]
        return [dict(sorted(row.items(), key=lambda item: -item[1])) for row in labelled_rows]

    @torch.inference_mode()
    def probabilities(self, ids: list[list[int]], batch_size: int = 32) -> Tensor:
        """Return (N, K) of token ids."""
        return self.head(self.features(ids, batch_size)).softmax(dim=1).cpu()

    @torch.inference_mode()
    def features(self, ids: list[list[int]], batch_size: int = 32) -> Tensor:
        """Return (N, H) float32. Texts of about one length are read together; each row lands in its own place."""
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
        features = torch.empty(len(ids), self.trunk.config.hidden_size, device=loading.device())
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            features[rows] = self.pooled([ids[i] for i in rows])
        return features

    def pooled(self, ids: list[list[int]]) -> Tensor:
        """Return (B, H) float32 of one batch, with gradients where they are wanted."""
        batch, mask = padded(ids, self.tokenizer.pad_token_id)
        states = self.trunk(input_ids=batch, attention_mask=mask).last_hidden_state.float()  # (B, T, H)
        if self.pooling == "last":
            return states[torch.arange(len(ids), device=batch.device), mask.sum(dim=1) - 1]
        weights = mask[:, :, None].float()
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def load_trunk(folder: str | Path, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """Return (model without a head, tokenizer), on `device()`, in eval mode with dropout off: a policy's or an
    encoder's."""
    trunk, tokenizer = loading.load_as(AutoModel, folder, dtype or loading.compute_dtype())
    trunk.config.use_cache = False
    return trunk, tokenizer


def encode(tokenizer: Any, text: str, text_b: str, max_length: int) -> list[int]:
    """Return token ids of a text, or of two with a blank line between; the longer one is cut first."""
    if not text_b:
        return list(tokenizer(text)["input_ids"])[:max_length]
    first, gap, second = (list(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in (text, "\n\n", text_b))
    room = max_length - len(gap)
    keep = max(room // 2, room - len(second))
    first = first[:keep]
    return [*first, *gap, *second[: room - len(first)]]


def padded(ids: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return (B, T) token ids, padded on the right, and their attention mask."""
    longest = max(len(row) for row in ids)
    batch = torch.tensor([row + [pad] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    return batch.to(loading.device()), mask.to(loading.device())
