"""Hold the model that SFT, DPO and KTO train: which weights learn, and what it says of some examples.

lora    adapters (float32) on every linear layer of a frozen model
top     in the top third; what lies below is frozen and, where there is more than one pass over the data, run only once
full    every weight: float32 masters move, the model holds them rounded (`recipes.masters`)
qlora   as lora, over a model in 4 bits

On a processor, layers laid out like Llama's run packed (`rl.packed`), and what several examples begin with once;
elsewhere, and on a GPU, sequences are padded on the right and run by the model itself. The output layer sees the
positions that are learnt and no others, a few hundred at a time (`recipes.token_loss`; `rl.logprobs` where each example
has a factor of its own). A model whose logits are more than products of its last states has log-probabilities by its
own forward, and no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from training.core import batch_planner
from training.core.run_directory import RecipeFailure
from training.recipes.common import loading, sharding
from training.recipes.common.features import adapted_layers, decoder_layers
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.recipes.common.token_loss import token_loss
from training.recipes.sft.examples import Example, lengths_of
from training.rl.logprobs import logits_are_products, scaled_states, token_logprobs
from training.rl.lora import add_adapters
from training.rl.packed.packed_layers import packed_agrees, run_packed
from training.rl.packed.packed_rows import Laid, lay


def load(parent: str, adapters: str, dtype: torch.dtype, *, to_split: bool = False) -> tuple[Any, Any]:
    """Return (model, tokenizer); every weight in float32 where every weight learns, in 4 bits for qlora."""
    if adapters != "qlora":
        return loading.load_policy(parent, torch.float32 if adapters == "full" else dtype, to_split=to_split)
    if not (torch.cuda.is_available() and _has_bitsandbytes()):
        lacks = "the package bitsandbytes" if torch.cuda.is_available() else "a CUDA GPU"
        raise RecipeFailure(
            "qlora_unavailable",
            f"A model in 4 bits needs a CUDA GPU and the package bitsandbytes; {lacks} is missing.",
            "Choose adapters lora: the same adapters over the model in bfloat16.",
        )
    device_map = {"": torch.cuda.current_device()}
    return loading.load_as(
        AutoModelForCausalLM, parent, dtype, quantization_config=four_bits(dtype), device_map=device_map
    )


def four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the config of 4 bits (Dettmers 2023, 2305.14314): normal floats, their scales quantised too, products in
    `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip


def _has_bitsandbytes() -> bool:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        return False
    return True


class Student:
    def __init__(
        self, model: Any, adapters: str, *, rank: int, seed: int, dtype: torch.dtype, is_sharded: bool = False,
        any_logits: bool = False,
    ) -> None:  # fmt: skip
        """Give the model what learns. `any_logits`: also one that has log-probabilities alone."""
        self.model, self.base, self.adapters, self.rank, self.seed = model, model.get_decoder(), adapters, rank, seed
        self.reads_states = logits_are_products(model)
        if not (self.reads_states or any_logits):
            loading.require_readable_logits(model)
        layers = decoder_layers(model)
        self.depth, self.dtype = len(layers), dtype
        self.device = loading.device() if is_sharded else model.get_input_embeddings().weight.device
        # Packed layers read weights themselves, which a split model gathers for its own forward alone.
        self.is_packed = adapters != "qlora" and not is_sharded and self._packs(model)
        self.cut = self.depth - len(adapted_layers(model, adapters))
        model.requires_grad_(adapters == "full")
        if adapters != "full":
            add_adapters(layers[self.cut :], rank, 2.0 * rank, seed)
        if is_sharded:  # split weights are float32 masters themselves, gathered in the dtype that multiplies
            sharding.shard(model, dtype if adapters == "full" else None)
        self.masters = Masters(trained_parameters(model), torch.float32 if is_sharded else dtype)
        self.recompute = False
        self._trunk: dict[int, Tensor] = {}

    def _packs(self, model: Any) -> bool:
        return self.device.type == "cpu" and self.reads_states and packed_agrees(model)

    def shape(self) -> batch_planner.Shape:
        dtype_bytes = torch.finfo(self.dtype if sharding.is_sharded(self.model) else self.model.dtype).bits // 8
        layers = self.depth - (self.cut if self.is_packed else 0)
        shape = batch_planner.shape_of(
            self.model.config, layers=layers, dtype_bytes=dtype_bytes, packed=self.is_packed
        )  # fmt: skip
        if self.reads_states:
            return shape
        return replace(shape, logits=batch_planner.logit_bytes(self.model.config.vocab_size, dtype_bytes))

    def learnt(self) -> int:
        return sum(p.numel() for p in self.masters.masters.values())

    def begin(self, recompute: bool) -> None:
        """Prepare to learn. Dropout stays off (`loading`); transformers recompute activations in training mode only."""
        self.recompute = recompute
        if recompute and not self.is_packed:
            self.model.train()
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            self.model.enable_input_require_grads()

    def loss(self, examples: list[Example], scale: float) -> tuple[Tensor, Tensor]:
        """Return `scale` times the summed loss of the examples' learnt tokens, and each such token's (unscaled)."""
        return sharding.call(lambda _model: self._loss(examples, scale), self.model)

    def _loss(self, examples: list[Example], scale: float) -> tuple[Tensor, Tensor]:
        positions, targets = self._learnt_places(examples)
        return token_loss(*self._products(examples, positions), targets, scale)

    def logprobs(self, examples: list[Example], *, entropies: bool = False) -> tuple[Tensor, Tensor]:
        """Return (B,) the summed log-probability of each example's learnt tokens, with gradient, and (B,) the summed
        entropy of the distributions that they are from, without; 0 unless it is asked for."""
        return sharding.call(lambda _model: self._logprobs(examples, entropies), self.model)

    def _logprobs(self, examples: list[Example], entropies: bool) -> tuple[Tensor, Tensor]:
        positions, targets = self._learnt_places(examples)
        if self.reads_states:
            of_tokens = token_logprobs(*self._products(examples, positions), targets, entropies=entropies)
        else:
            table = self._padded(examples, self.model).logits[self._mask(examples)][positions].float().log_softmax(-1)
            with torch.no_grad():
                spread = -torch.linalg.vecdot(table.exp(), table) if entropies else torch.zeros_like(table[:, 0])
            of_tokens = table.gather(1, targets[:, None])[:, 0], spread
        counts = torch.tensor([example.targets for example in examples], device=self.device)
        owners = torch.arange(len(examples), device=self.device).repeat_interleave(counts)
        logprobs, entropy = (torch.zeros(len(examples), device=self.device).index_add(0, owners, x) for x in of_tokens)
        return logprobs, entropy

    def _learnt_places(self, examples: list[Example]) -> tuple[Tensor, Tensor]:
        """Return (M,) the positions, in all examples laid end to end, whose states predict the learnt tokens, and these
        tokens."""
        positions, targets, start = [], [], 0
        for example in examples:
            # The state before a token predicts it.
            positions += [start + i - 1 for i, is_learnt in enumerate(example.learnt) if is_learnt]
            targets += [t for t, is_learnt in zip(example.tokens, example.learnt, strict=True) if is_learnt]
            start += len(example.tokens)
        integers: dict[str, Any] = {"dtype": torch.long, "device": self.device}  # of no tokens, too
        return torch.tensor(positions, **integers), torch.tensor(targets, **integers)

    def _products(self, examples: list[Example], positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states at these positions (M, H) and the output layer's weight, whose product is the logits."""
        weight = self.model.get_output_embeddings().weight
        return scaled_states(self.model, self._states(examples, positions).to(weight.dtype)), weight

    @torch.no_grad()
    def keep_trunk(self, examples: Sequence[Example], tokens: int, wanted: Sequence[int] | None = None) -> bool:
        """Run the frozen lower layers once for all examples, or those `wanted`, in batches of their own: they do not
        depend on where a run resumes.

        False where there is nothing to keep or no room to keep it.
        """
        all_lengths = lengths_of(examples)
        chosen: Sequence[int] = range(len(all_lengths)) if wanted is None else wanted
        lengths = [all_lengths[i] for i in chosen]
        total = sum(lengths) * self.model.config.hidden_size * 4
        if not (self.is_packed and self.cut) or total > batch_planner.KEPT_TRUNK_BYTES:
            return False
        for indices in batch_planner.micro_batches(lengths, tokens, padded=False):
            group = [examples[chosen[i]] for i in indices]
            laid = self._lay(group)
            states = self._lower(group, laid)[laid.index].split([len(e.tokens) for e in group])
            self._trunk |= {example.number: part.clone() for example, part in zip(group, states, strict=True)}
        return True

    def _states(self, examples: list[Example], positions: Tensor) -> Tensor:
        """Return (M, H) after the final norm, of these positions (M,) of all examples' tokens laid end to end."""
        if not self.is_packed:
            return self._padded(examples, self.base).last_hidden_state[self._mask(examples)][positions]
        laid = self._lay(examples)
        if self.cut and all(e.number in self._trunk for e in examples):
            hidden = torch.cat([self._trunk[e.number] for e in examples])[laid.firsts]
        else:
            hidden = self._lower(examples, laid)
        wanted = laid.index[positions]
        return self.base.norm(run_packed(self.base, hidden, laid.rows, self.cut, self.depth, self.recompute, wanted))

    def _lay(self, examples: list[Example]) -> Laid:
        return lay(self.base, [e.tokens for e in examples], self.model.get_input_embeddings().weight.dtype)

    def _lower(self, examples: list[Example], laid: Laid) -> Tensor:
        """Return what enters the first layer that learns. Embeddings learn only where everything does."""
        ids = torch.tensor([token for e in examples for token in e.tokens], device=self.device)
        hidden: Tensor = self.base.embed_tokens(ids[laid.firsts])
        if self.cut:
            with torch.no_grad():
                hidden = run_packed(self.base, hidden, laid.rows, 0, self.cut)
        return hidden

    def _padded(self, examples: list[Example], module: Any) -> Any:
        """Return what a causal model gives for the examples, padded on the right. Nothing looks at what comes after it,
        so that no mask is given: with one, attention repeats grouped keys and takes a slower kernel."""
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(e.tokens) for e in examples], batch_first=True)
        return module(input_ids=ids.to(self.device), use_cache=False)

    def _mask(self, examples: list[Example]) -> Tensor:
        """Return (B, T) True where a padded batch of the examples holds a token."""
        lengths = torch.tensor([len(e.tokens) for e in examples])
        return (torch.arange(int(lengths.max())) < lengths[:, None]).to(self.device)

    def measure_with(self, model: Any) -> None:
        """Compute losses by another model from now on: the one that was saved. Nothing is trained any more."""
        was_sharded = sharding.is_sharded(self.model)
        self.model, self.base, self.cut, self._trunk = model, model.get_decoder(), 0, {}
        if was_sharded:
            sharding.shard(model)
            return
        self.device = model.get_input_embeddings().weight.device
        self.is_packed = self._packs(model)

    def trained(self, parent: str, *, is_first: bool) -> sharding.Trained:
        """Return the model that learnt, whole, on the first process at least. Its masters are those of a full
        finetuning; adapters hold their own."""

        def load_parent() -> Any:
            model = load(parent, self.adapters, self.dtype, to_split=True)[0]
            if self.adapters != "full":
                add_adapters(decoder_layers(model)[self.cut :], self.rank, 2.0 * self.rank, self.seed)
            return model

        rounded = self.dtype if self.adapters == "full" else None
        whole = sharding.trained(self.model, self.masters.masters, load_parent, is_first=is_first, dtype=rounded)
        return whole if self.adapters == "full" else sharding.Trained(whole.model, {})
