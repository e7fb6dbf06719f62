"""Hold a reward model on disk and in memory: one scalar score s(prompt, completion) read off pooled hidden states.

    model/reward.json        method, features, trunk, token limits, score statistics, held-out figures
    model/head.safetensors   weight (F,), bias (1,), feature_mean (F,), feature_std (F,);
                             aspect_weight (A, F), aspect_bias (A,) for the names in `aspects`;
                             gold_weight (F,), gold_bias (1,) where there is a second head (`reward_gold`)
    model/trunk/             only for method "finetune": its own trunk, a model folder (an adapter, unless all learnt)

For method "head" the trunk is the parent model, named by its folder as seen from this one, and by its hash. Where
PPO's reference is that same model (`trunk_hash == loading.weights_hash(parent)`), its forward gives the score too:

    hidden = {layer: ref_hidden_states[layer] for layer in reward_model.layers}       # each (B, T, H)
    scores = reward_model.score_from_hidden(hidden, completion_mask)                  # (B,), raw

`completion_mask` is True on the completion's tokens and on nothing else: not on the prompt, the EOS, or padding
(`training.recipes.common.features` says the layout). Prompts are to be encoded with `reward_model.max_prompt_tokens`.
Otherwise `score_tokens` or `score` forward the reward model's own trunk. Raw scores have mean `score_mean` and standard
deviation `score_std` over the training completions; whoever wants them standardised does so. Aspects have scores of
their own, of mean 0 and deviation 1; the quality alone is what a policy is rewarded by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters, loading
from training.recipes.common import features as text_features

Messages = list[dict[str, str]]
TENSORS = (
    *("weight", "bias", "feature_mean", "feature_std", "aspect_weight", "aspect_bias"),
    *("gold_weight", "gold_bias"),
)


@dataclass(eq=False)
class RewardModel:
    method: str  # "head": the trunk is somebody's model, frozen; "finetune": the trunk is its own
    features: tuple[text_features.Feature, ...]
    weight: Tensor  # (F,) float32, on standardised features
    bias: Tensor  # (1,)
    feature_mean: Tensor  # (F,)
    feature_std: Tensor  # (F,)
    trunk_folder: str
    trunk_hash: str
    max_prompt_tokens: int
    max_completion_tokens: int
    score_mean: float = 0.0
    score_std: float = 1.0
    empty_score: float = 0.0  # the lowest score of training: saying nothing must never pay
    trunk_was: str = ""  # its absolute folder when the head was fitted
    tie_threshold: float = 0.0  # of raw scores, see `training.recipes.reward.rao_kupper`; 0 is Bradley-Terry
    held_out: dict[str, Any] = field(default_factory=dict)  # see `training.core.reward_trust`; {} where nobody measured
    aspects: tuple[str, ...] = ()
    aspect_weight: Tensor | None = None  # (A, F), on standardised features
    aspect_bias: Tensor | None = None  # (A,)
    gold_weight: Tensor | None = None  # (F,), on standardised features: the second head, of other annotations
    gold_bias: Tensor | None = None  # (1,)
    gold_empty_score: float = 0.0
    closing_tokens: tuple[
        int, ...
    ] = ()  # follow each completion, where the score was trained so: `sequence_classifier`
    _trunk: Any = field(default=None, repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """Return indices into transformers' hidden_states that `score_from_hidden` needs, ascending."""
        return tuple(sorted({layer for layer, _ in self.features}))

    @classmethod
    def load(cls, folder: str | Path) -> RewardModel:
        """Load a reward model, its trunk when it is first needed. Raises RecipeFailure when the folder holds none."""
        folder = Path(folder)
        if not (folder / "reward.json").is_file():
            raise RecipeFailure(
                "not_a_reward_model", f"{folder} has no reward model.", "Choose the model of a reward run."
            )
        facts: dict[str, Any] = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        facts["features"] = tuple((int(layer), str(pooling)) for layer, pooling in facts["features"])
        facts["aspects"] = tuple(facts.get("aspects", ()))
        facts["closing_tokens"] = tuple(facts.get("closing_tokens", ()))
        facts["trunk_folder"] = str(_find_trunk(folder, facts["trunk_folder"], facts.get("trunk_was", "")))
        head = load_file(folder / "head.safetensors")
        facts.update({name: tensor.to(loading.device()) for name, tensor in head.items()})
        return cls(**facts)

    def save(self, folder: str | Path) -> None:
        """Write reward.json and head.safetensors; a finetuned trunk is saved as `folder/trunk` by its recipe."""
        folder = Path(folder)
        tensors = {name: getattr(self, name) for name in TENSORS if getattr(self, name) is not None}
        save_file({n: t.detach().float().cpu().contiguous() for n, t in tensors.items()}, folder / "head.safetensors")
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in (*TENSORS, "_trunk")}
        (folder / "reward.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def keep_aspects(self, heads: dict[str, tuple[Tensor, float]]) -> None:
        """Keep the heads of aspects: by name a weight (F,) on standardised features, and a bias."""
        if heads:
            self.aspects = tuple(heads)
            self.aspect_weight = torch.stack([weight.float() for weight, _ in heads.values()])
            self.aspect_bias = torch.tensor([bias for _, bias in heads.values()])

    def score_from_pooled(self, pooled: Tensor) -> Tensor:
        """Return (B,) raw scores of pooled features (B, F)."""
        standardised = (pooled - self.feature_mean) / self.feature_std
        return standardised @ self.weight + self.bias

    def aspects_from_pooled(self, pooled: Tensor) -> dict[str, Tensor]:
        """Return {aspect: (B,)} of pooled features (B, F); empty where the model has no aspects."""
        if self.aspect_weight is None or self.aspect_bias is None:
            return {}
        standardised = (pooled - self.feature_mean) / self.feature_std
        return dict(zip(self.aspects, (standardised @ self.aspect_weight.T + self.aspect_bias).T, strict=True))

    def aspects_from_hidden(self, hidden: dict[int, Tensor], completion_mask: Tensor) -> dict[str, Tensor]:
        """Return {aspect: (B,)} as `score_from_hidden`; NaN for an empty completion, which has none."""
        mask = self._read(completion_mask)
        aspects = self.aspects_from_pooled(text_features.pool(hidden, mask, self.features))
        return {name: torch.where(mask.any(dim=1), scores, torch.nan) for name, scores in aspects.items()}

    @property
    def has_gold(self) -> bool:
        return self.gold_weight is not None

    def gold_from_pooled(self, pooled: Tensor) -> Tensor:
        """Return (B,) raw scores by the second head. Raises RecipeFailure where the model has none."""
        if self.gold_weight is None or self.gold_bias is None:
            raise RecipeFailure(
                "no_gold_proxy", "This reward model has no second head.", "Train the reward model again to get one."
            )
        return ((pooled - self.feature_mean) / self.feature_std) @ self.gold_weight + self.gold_bias

    def gold_from_hidden(self, hidden: dict[int, Tensor], completion_mask: Tensor) -> Tensor:
        """Return (B,) raw scores by the second head, as `score_from_hidden`."""
        mask = self._read(completion_mask)
        scores = self.gold_from_pooled(text_features.pool(hidden, mask, self.features))
        return torch.where(mask.any(dim=1), scores, torch.full_like(scores, self.gold_empty_score))

    def _read(self, completion_mask: Tensor) -> Tensor:
        mask = completion_mask.bool()
        return mask & (mask.long().cumsum(dim=1) <= self.max_completion_tokens + len(self.closing_tokens))

    def score_from_hidden(self, hidden: dict[int, Tensor], completion_mask: Tensor) -> Tensor:
        """Return (B,) raw float32 scores from {layer: (B, T, H)} and the completion mask (B, T).

        The mask is True on completion tokens only. An empty completion gets the lowest score seen in training.
        """
        mask = self._read(completion_mask)
        scores = self.score_from_pooled(text_features.pool(hidden, mask, self.features))
        return torch.where(mask.any(dim=1), scores, torch.full_like(scores, self.empty_score))

    @torch.inference_mode()
    def score_tokens(self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor) -> Tensor:
        """Return (B,) raw scores of sequences (B, T) through the reward model's own trunk."""
        model, _ = self.trunk()
        hidden = text_features.hidden_states(model, input_ids, attention_mask, self.layers)
        return self.score_from_hidden(hidden, completion_mask)

    def score(self, prompts: list[Messages], completions: list[str], batch_size: int = 32) -> Tensor:
        """Return (B,) raw scores of texts: each completion answers the prompt at its index."""
        scores = torch.full((len(prompts),), self.empty_score, device=loading.device())
        for rows, hidden, mask in self._forwards(prompts, completions, batch_size):
            scores[rows] = self.score_from_hidden(hidden, mask)
        return scores

    def score_both(
        self, prompts: list[Messages], completions: list[str], batch_size: int = 32
    ) -> tuple[Tensor, Tensor]:
        """Return (B,) raw scores of texts by either head, in one forward. Raises RecipeFailure where there is one
        alone."""
        scores = torch.full((len(prompts),), self.empty_score, device=loading.device())
        gold = torch.full_like(scores, self.gold_empty_score)
        for rows, hidden, mask in self._forwards(prompts, completions, batch_size):
            scores[rows] = self.score_from_hidden(hidden, mask)
            gold[rows] = self.gold_from_hidden(hidden, mask)
        return scores, gold

    def score_aspects(self, prompts: list[Messages], completions: list[str], batch_size: int = 32) -> dict[str, Tensor]:
        """Return {aspect: (B,)} of texts, as `score`; empty where the model has no aspects."""
        if not self.aspects:
            return {}
        scores_by_aspect = {
            name: torch.full((len(prompts),), torch.nan, device=loading.device()) for name in self.aspects
        }
        for rows, hidden, mask in self._forwards(prompts, completions, batch_size):
            for name, values in self.aspects_from_hidden(hidden, mask).items():
                scores_by_aspect[name][rows] = values
        return scores_by_aspect

    @torch.inference_mode()
    def _forwards(
        self, prompts: list[Messages], completions: list[str], batch_size: int
    ) -> Iterator[tuple[Tensor, dict[int, Tensor], Tensor]]:
        """Yield (rows, hidden states, completion mask) of texts of about a length, through the reward model's own
        trunk.

        A prompt with several completions is forwarded once for them.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts for {len(completions)} completions: give one prompt for each.")
        model, tokenizer = self.trunk()
        closing = list(self.closing_tokens)
        tails = [loading.encode_completion(tokenizer, c, self.max_completion_tokens) + closing for c in completions]
        grouped: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            grouped.setdefault(json.dumps(prompt), []).append(i)
        groups = [
            (loading.encode_prompt(tokenizer, prompts[rows[0]], self.max_prompt_tokens), rows)
            for rows in grouped.values()
        ]
        groups.sort(key=lambda group: (len(group[0]) + sum(len(tails[i]) for i in group[1]), group[1]))
        while groups:
            count, size = 0, 0
            while count < len(groups) and (not count or size + len(groups[count][1]) <= batch_size):
                size += len(groups[count][1])
                count += 1
            batch, groups = groups[:count], groups[count:]
            hidden, mask = text_features.completion_states(
                model, [head for head, _ in batch], [[tails[i] for i in rows] for _, rows in batch], self.layers,
                tokenizer.pad_token_id,
            )  # fmt: skip
            yield torch.tensor([i for _, rows in batch for i in rows], device=model.device), hidden, mask

    def trunk(self) -> tuple[Any, Any]:
        """Return (model, tokenizer) of the trunk; the folder must still hold what the head was fitted on."""
        if self._trunk is None:
            is_there = adapters.is_model(self.trunk_folder)
            if is_there and loading.weights_hash(self.trunk_folder) != self.trunk_hash:
                raise RecipeFailure(
                    "trunk_changed",
                    f"The model in {self.trunk_folder} is not the model that this reward model was trained on.",
                    "Restore that model, or train the reward model again on this one.",
                )
            self._trunk = loading.load_policy(self.trunk_folder)
        return self._trunk


def _find_trunk(folder: Path, named: str, old_path: str) -> Path:
    """Return the trunk's folder: relative to the reward model's; its old path; or the same place below an ancestor of
    the reward model, for those saved with an absolute folder and moved since. `trunk_hash` decides."""
    folders = adapters.candidates(folder, named, old_path)
    return next((p for p in folders if adapters.is_model(p)), folder / named).resolve()
