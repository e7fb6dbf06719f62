"""A reward model on disk and in memory: one scalar score s(prompt, completion) read off pooled hidden states.

    model/reward.json        method, features, trunk, token limits, score statistics
    model/head.safetensors   weight (F,), bias (1,), feature_mean (F,), feature_std (F,)
    model/trunk/             only for method "finetune": the merged trunk, a full model folder

For method "head" the trunk is the parent model, named by absolute folder and hash: where PPO's reference is that same
model (`trunk_hash == loading.weights_hash(parent)`), the reference's own forward gives the score for nothing:

    hidden = {layer: ref_hidden_states[layer] for layer in reward_model.layers}       # each (B, T, H)
    scores = reward_model.score_from_hidden(hidden, completion_mask)                  # (B,), raw

`completion_mask` is True on the completion's tokens and on nothing else: not on the prompt, the EOS, or padding
(`training.recipes.features` says the layout). Prompts are to be encoded with `reward_model.max_prompt_tokens`.
Otherwise `score_tokens` or `score` forward the reward model's own trunk. Raw scores have mean `score_mean` and standard
deviation `score_std` over the training completions; whoever wants them standardised does so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.recipes import features as seen
from training.recipes import loading
from training.run_directory import RecipeFailure

Messages = list[dict[str, str]]


@dataclass(eq=False)
class RewardModel:
    method: str  # "head": the trunk is somebody's model, frozen; "finetune": the trunk is its own
    features: tuple[seen.Feature, ...]
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
    _trunk: Any = field(default=None, repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices into transformers' hidden_states that `score_from_hidden` needs, ascending."""
        return tuple(sorted({layer for layer, _ in self.features}))

    @classmethod
    def load(cls, folder: str | Path) -> RewardModel:
        """Raises RecipeFailure when the folder holds no reward model. The trunk is loaded when it is first needed."""
        folder = Path(folder)
        if not (folder / "reward.json").is_file():
            raise RecipeFailure(
                "not_a_reward_model", f"{folder} holds no reward model.", "Name the model of a reward run."
            )
        facts: dict[str, Any] = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        facts["features"] = tuple((int(layer), str(how)) for layer, how in facts["features"])
        # A finetuned trunk lies inside and moves with the folder; a frozen one is somebody else's.
        facts["trunk_folder"] = str((folder / facts["trunk_folder"]).resolve())
        head = load_file(folder / "head.safetensors")
        facts.update({name: tensor.to(loading.device()) for name, tensor in head.items()})
        return cls(**facts)

    def save(self, folder: str | Path) -> None:
        """Write reward.json and head.safetensors; a finetuned trunk is saved as `folder/trunk` by its recipe."""
        folder = Path(folder)
        names = ("weight", "bias", "feature_mean", "feature_std")
        save_file(
            {name: getattr(self, name).detach().float().cpu().contiguous() for name in names},
            folder / "head.safetensors",
        )
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in (*names, "_trunk")}
        (folder / "reward.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def score_from_pooled(self, pooled: Tensor) -> Tensor:
        """(B,) raw scores of pooled features (B, F)."""
        standardised = (pooled - self.feature_mean) / self.feature_std
        return standardised @ self.weight + self.bias

    def score_from_hidden(self, hidden: dict[int, Tensor], completion_mask: Tensor) -> Tensor:
        """(B,) raw float32 scores from {layer: (B, T, H)} and the completion mask (B, T).

        The mask is True on completion tokens only. An empty completion gets the lowest score seen in training.
        """
        mask = completion_mask.bool()
        mask = mask & (mask.long().cumsum(dim=1) <= self.max_completion_tokens)
        scores = self.score_from_pooled(seen.pool(hidden, mask, self.features))
        return torch.where(mask.any(dim=1), scores, torch.full_like(scores, self.empty_score))

    @torch.inference_mode()
    def score_tokens(self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor) -> Tensor:
        """(B,) raw scores of sequences (B, T) through the reward model's own trunk."""
        model, _ = self.trunk()
        hidden = seen.hidden_states(model, input_ids, attention_mask, self.layers)
        return self.score_from_hidden(hidden, completion_mask)

    @torch.inference_mode()
    def score(self, prompts: list[Messages], completions: list[str], batch_size: int = 32) -> Tensor:
        """(B,) raw scores of texts: each completion answers the prompt at its index."""
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts for {len(completions)} completions: give one prompt for each.")
        model, tokenizer = self.trunk()
        heads = [loading.encode_prompt(tokenizer, p, self.max_prompt_tokens) for p in prompts]
        tails = [loading.encode_completion(tokenizer, c, self.max_completion_tokens) for c in completions]
        scores = torch.full((len(prompts),), self.empty_score, device=model.device)
        order = sorted(range(len(prompts)), key=lambda i: (len(heads[i]) + len(tails[i]), i))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            hidden, mask = seen.completion_states(
                model, [heads[i] for i in rows], [[tails[i]] for i in rows], self.layers, tokenizer.pad_token_id
            )
            scores[torch.tensor(rows, device=model.device)] = self.score_from_hidden(hidden, mask)
        return scores

    def trunk(self) -> tuple[Any, Any]:
        """(model, tokenizer) of the trunk; the folder must still hold what the head was fitted on."""
        if self._trunk is None:
            if (
                Path(self.trunk_folder, "config.json").is_file()
                and loading.weights_hash(self.trunk_folder) != self.trunk_hash
            ):
                raise RecipeFailure(
                    "trunk_changed",
                    f"The model in {self.trunk_folder} is not the one this reward model was fitted on.",
                    "Restore that model, or train the reward model again on this one.",
                )
            self._trunk = loading.load_policy(self.trunk_folder)
        return self._trunk
