"""Hold the policy and its reference in one object, whichever weights are trained.

top    LoRA in the upper layers; what lies below is frozen, shared with the reference, and run once per rollout
lora   LoRA in all layers; the reference is the model with its adapters off
full   every weight; the reference is a frozen copy
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from training.rl.logprobs import logits_are_products, scaled_states, token_logprobs
from training.rl.lora import add_adapters
from training.rl.packed.packed_layers import packed_agrees
from training.rl.rollout import Rollout
from training.rl.trunk import cut_agrees, run_layers


class CannotCut(Exception):
    """The model's layers cannot be run in two parts."""


class Policy:
    def __init__(
        self, model: Any, adapters: str, *, temperature: float = 1.0, rank: int = 16, alpha: float = 32.0,
        top_share: float = 1 / 3, seed: int = 0, with_reference: bool = True, any_model: bool = False,
    ) -> None:  # fmt: skip
        """Give the model what learns. `any_model`: also one that cannot be cut for `top`, or whose logits are more than
        products of its last states: it runs as a whole, by its own forward."""
        self.model, self.base, self.adapters, self.temperature = model, model.get_decoder(), adapters, temperature
        self.depth: int = model.config.num_hidden_layers
        self.cut: int | None = None
        self.reference: nn.Module | None = None
        self.output: Callable[[Tensor], Tensor] | None = (
            None  # multiplies by the frozen output layer, where it is given
        )
        self.any_model = any_model
        self.reads_states = not any_model or logits_are_products(model)
        # By hand and without padding, where that gives what the model gives.
        on_cpu = model.get_input_embeddings().weight.device.type == "cpu"
        self.packed = on_cpu and self.reads_states and packed_agrees(model)
        model.requires_grad_(adapters == "full")
        if adapters == "full":
            self.reference = copy.deepcopy(model).requires_grad_(False).eval() if with_reference else None
            return
        cut = self.depth - max(1, math.ceil(self.depth * top_share)) if adapters == "top" else 0
        if self.reads_states and cut_agrees(model, cut):
            self.cut = cut
        elif adapters == "top" and not any_model:
            raise CannotCut(f"the layers of {type(model).__name__} cannot be run in two parts")
        self.switch = add_adapters(self._layers(cut), rank, alpha, seed)

    def _layers(self, first: int) -> Any:
        """Return the layers from this one on, however the model calls them; all that it has, for the first."""
        if not first:
            return getattr(self.base, "layers", self.base.children())
        stacks = (module for module in self.base.modules() if isinstance(module, nn.ModuleList))
        return next(stack for stack in stacks if len(stack) == self.depth)[first:]

    @property
    def trained_from(self) -> int:
        """Return the lowest layer whose weights move."""
        return self.cut or 0

    def below(self, keep: frozenset[int]) -> frozenset[int]:
        """Return the layers whose states a sampler could keep for `lower`: that of the cut, and what of `keep` lies
        below it. None where nothing lies below."""
        return frozenset(layer for layer in keep | {self.cut} if layer <= self.cut) if self.cut else frozenset()

    def parameters(self) -> Mapping[str, Tensor]:
        """Return what the optimiser moves, and checkpoints hold."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def collect(self) -> None:
        """Add the gradients of one backward pass to those of `parameters`, where these are not what computed."""

    def publish(self) -> None:
        """Compute by `parameters` as they are now, whoever has written them."""

    @torch.no_grad()
    def lower(
        self, rollout: Rollout, keep: frozenset[int] = frozenset(), states: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return what every forward of this rollout starts from, and hidden states to keep.

        Hidden states (B, T, H) at the cut; token ids (B, T) where nothing is shared. `states` (B, T, H) are those that
        the sampler kept, of the layers that `below` names: then nothing is run.
        """
        if self.cut is None:
            return rollout.ids, {}
        if states is not None:
            return states[self.cut], {layer: states[layer] for layer in self.below(keep) if layer in keep}
        hidden = self.base.embed_tokens(rollout.ids)
        return run_layers(self.base, hidden, 0, self.cut, keep, self._texts(rollout))

    def logprobs(self, lower: Tensor, rollout: Rollout, *, entropies: bool = False) -> tuple[Tensor, Tensor]:
        """Return logprobs and entropies of the drawn tokens under the policy, both (B, N), 0 on padding.

        Entropies are 0 everywhere unless they are asked for, and have no gradient.
        """
        if not self.reads_states:
            return self._by_own_logits(self.model, rollout, entropies)
        states, _ = self._upper(self.model, lower, rollout, frozenset())
        return self._logprobs(self.model, states, rollout, entropies)

    @torch.no_grad()
    def reference_logprobs(
        self, lower: Tensor, rollout: Rollout, keep: frozenset[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the logprobs of the drawn tokens under the reference, (B, N), and the reference's hidden states to
        keep."""
        if not self.reads_states:
            with self.switch.off() if self.reference is None else nullcontext():
                return self._by_own_logits(self.reference or self.model, rollout)[0], {}
        if self.reference is not None:
            states, kept_states = self._upper(self.reference, lower, rollout, keep)
            return self._logprobs(self.reference, states, rollout)[0], kept_states
        with self.switch.off():
            states, kept_states = self._upper(self.model, lower, rollout, keep)
        return self._logprobs(self.model, states, rollout)[0], kept_states

    def _texts(self, rollout: Rollout) -> list[list[int]] | None:
        """Return the token ids of each episode, prompt and answer, where layers run without padding. An end token has a
        number of its own: its state may be missing (`kept_states`), and a prompt that goes on from it needs that state.
        """
        if not self.packed:
            return None
        ends = (rollout.prompt_lengths + rollout.lengths).tolist()
        texts = [ids[:end] for ids, end in zip(rollout.ids.tolist(), ends, strict=True)]
        for row in rollout.finished.nonzero()[:, 0].tolist():
            texts[row][-1] = -1 - row
        return texts

    def _upper(
        self, model: Any, lower: Tensor, rollout: Rollout, keep: frozenset[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the normed states (M, H) in which the tokens were drawn, and hidden states to keep."""
        base, cut = model.get_decoder(), self.cut
        if cut is None and not self.packed:
            output = base(input_ids=lower, output_hidden_states=bool(keep), use_cache=False)
            kept_states = {i: output.hidden_states[i] for i in keep} if keep else {}
            return output.last_hidden_state[rollout.states()], kept_states
        hidden = base.embed_tokens(lower) if cut is None else lower
        texts = self._texts(rollout)
        if texts is not None and not keep:
            texts = [text[:-1] for text in texts]  # nothing was drawn in the state of the last token
        states, kept_states = run_layers(base, hidden, cut or 0, self.depth, keep, texts, rollout.states())
        return base.norm(states), kept_states

    def _logprobs(self, model: Any, states: Tensor, rollout: Rollout, entropies: bool = False) -> tuple[Tensor, Tensor]:
        weight = model.get_output_embeddings().weight
        logprobs, spreads = token_logprobs(
            scaled_states(model, states), weight, rollout.tokens[rollout.mask], self.temperature, entropies=entropies,
            output=None if weight.requires_grad or model is not self.model else self.output,
        )  # fmt: skip
        return rollout.spread(logprobs), rollout.spread(spreads)

    def _by_own_logits(self, model: Any, rollout: Rollout, entropies: bool = False) -> tuple[Tensor, Tensor]:
        """Return logprobs and entropies as `logprobs` does, of a model whose logits nobody else can compute."""
        logits = model(input_ids=rollout.ids, use_cache=False).logits[rollout.states()].float() / self.temperature
        table = logits.log_softmax(-1)
        with torch.no_grad():
            spreads = -torch.linalg.vecdot(table.exp(), table) if entropies else torch.zeros_like(table[:, 0])
        chosen = table.gather(1, rollout.tokens[rollout.mask][:, None])[:, 0]
        return rollout.spread(chosen), rollout.spread(spreads)
