"""Hold a policy with its reference: draw answers by it, and compute what they are worth to both (PPO, GRPO, RLOO).

Whatever is computed runs in groups of rows, so that memory does not grow with the batch. Of several processes each
computes its own rows, and what is small is known to all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from training.core import batch_planner
from training.core.memory.decoder_sizes import decoder_of_folder
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import loading, memory, sharding
from training.recipes.common.processes import ONE_PROCESS, OwnRows, Processes
from training.recipes.engine.policy_kinds import RoundedPolicy, SplitPolicy
from training.rl.decode import LlamaDecoder, decoder_for
from training.rl.kept_states import KeptStates, most_sequences
from training.rl.module_decoder import ModuleDecoder
from training.rl.policy import CannotCut, Policy
from training.rl.rollout import Rollout, joined, rollout_of
from training.rl.sampler import Completions, Sampling, sample, sequence_seed

T = TypeVar("T")
Groups = list[tuple[Tensor, bool]]


class PolicyConfig(Protocol):
    """A config that says which policy is trained."""

    @property
    def adapters(self) -> str: ...

    @property
    def lora_rank(self) -> int: ...

    @property
    def temperature(self) -> float: ...


class PolicyEngine:
    """Hold the models, and the clock of each stage."""

    def __init__(
        self, run: RunDirectory, spec: RunSpec, config: PolicyConfig, together: Processes = ONE_PROCESS, *,
        any_model: bool = False,
    ) -> None:  # fmt: skip
        """Load the models. `any_model`: also those whose logits are more than products, and that cannot be cut."""
        self.run, self.spec, self.config, self.together = run, spec, config, together
        _check_gathered(spec, config, together)
        model, self.tokenizer = loading.load_policy(spec.parent, dtype_of(config), to_split=together.is_sharded)
        if not any_model:
            loading.require_readable_logits(model)
        self.device = loading.device() if together.is_sharded else next(model.parameters()).device
        self.end_ids = loading.eos_token_ids(model, self.tokenizer)
        kind = SplitPolicy if together.is_sharded else Policy
        self.policy = policy_of(model, spec, config, kind=kind, any_model=any_model)
        # Of a split model no layout is copied: its weights are whole for as long as it samples.
        exact_below = self.policy.trained_from  # from there on others compute, by the states that the decoder keeps
        self.decoder = ModuleDecoder(model) if together.is_sharded else decoder_for(model, exact_below=exact_below)
        if isinstance(self.decoder, LlamaDecoder) and not self.decoder.output.rounds:
            self.policy.output = self.decoder.output  # is laid out already: 1.4 times as fast on a processor
        self.tokens_at_once = batch_planner.CPU_TOKENS
        self.seconds: dict[str, float] = {}

    def prompt_room(self, most: int, answer: int) -> int:
        """Return how many tokens a prompt may have, `most` at most, so that an answer of `answer` tokens fits into the
        model's window behind it: beyond that it has learnt nothing. Raises RecipeFailure."""
        window = getattr(self.policy.model.config, "max_position_embeddings", None) or most + answer
        if answer >= window:
            raise RecipeFailure(
                "context_too_long",
                f"The model has {window} positions, but max_new_tokens is {answer}: a prompt finds no room.",
                f"Queue it again with max_new_tokens of {window // 2}.",
                {"max_new_tokens": window // 2},
            )
        return min(most, window - answer)

    def plan_for(self, longest: int) -> None:
        """Choose how many tokens are forwarded at once, of sequences of at most this length: by the machine and the
        model, so that memory does not grow with the batch."""
        policy = self.policy
        shape = batch_planner.shape_of(
            policy.model.config, layers=policy.depth - policy.trained_from, packed=policy.packed,
            dtype_bytes=policy.model.get_input_embeddings().weight.dtype.itemsize,
        )  # fmt: skip
        if not policy.reads_states:
            logits = batch_planner.logit_bytes(policy.model.config.get_text_config().vocab_size, shape.dtype_bytes)
            shape = replace(shape, logits=logits)
        self.tokens_at_once = batch_planner.tokens_at_once(
            shape, longest=longest, memory=memory.total_memory(), on_cpu=self.device.type == "cpu"
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def own_rows(self, count: int) -> OwnRows:
        """Return this process's part of a batch of so many rows."""
        return self.together.own_rows(count)

    def draw_prompts(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling,
        keep: frozenset[int] | None = None,
    ) -> tuple[Rollout, Tensor, dict[int, Tensor] | None]:  # fmt: skip
        """Return completions of these prompts (token ids) by the policy as it is, their tokens' logprobs (B, N) in the
        sampler, and the states of this process's own rows that `read` would compute again for the layers to `keep`."""
        own = self.own_rows(len(prompts))
        with self.stage("sampling"), sharding.whole(self.policy.model):
            if isinstance(self.policy, RoundedPolicy):
                # All weights are laid out anew, into what updates have freed; those need as much again. Kept, it grew
                # by half a gigabyte a step for 135M parameters.
                memory.return_freed_memory()
            self.decoder.refresh(self.policy.trained_from)
            own_prompts = [prompts[i] for i in own.rows]
            kept = None if keep is None else self._kept_states(own_prompts, sampling, keep)
            completions = sample(
                self.decoder, own_prompts, [seeds[i] for i in own.rows], sampling,
                end_ids=self.end_ids, pad_id=self.tokenizer.pad_token_id, device=self.device, kept=kept,
                most_rows=memory.rows_at_once(self.policy.model, self.device, own_prompts, sampling.max_new_tokens),
            )  # fmt: skip
        parts = vars(completions).items()
        completions = Completions(**{name: self.together.merged(part, own, len(prompts)) for name, part in parts})
        rollout = rollout_of(prompts, completions, self.tokenizer.pad_token_id)
        assert completions.logprobs is not None
        states = kept.states(rollout.ids.shape[1]) if kept is not None else None
        return rollout, completions.logprobs[:, : rollout.mask.shape[1]], states

    def rows_at_once(self, prompts: list[list[int]], sampling: Sampling, keep: frozenset[int]) -> int:
        """Return how many answers may be drawn at once: their caches have room, and the states that are kept of them
        for these layers."""
        room = memory.rows_at_once(self.policy.model, self.device, prompts, sampling.max_new_tokens)
        layers = self.policy.below(keep)
        if not layers:
            return room
        return min(room, most_sequences(len(layers), *self._state_shape(prompts, sampling)))

    def _state_shape(self, prompts: list[list[int]], sampling: Sampling) -> tuple[int, int, torch.dtype]:
        """Return a sequence's tokens, a state's width and its dtype."""
        weight = self.policy.model.get_input_embeddings().weight
        return max(map(len, prompts)) + sampling.max_new_tokens, weight.shape[1], weight.dtype

    def _kept_states(self, prompts: list[list[int]], sampling: Sampling, keep: frozenset[int]) -> KeptStates | None:
        """Return where the sampler keeps the frozen trunk's states of these prompts' answers; None where they are to be
        computed again: no layer is shared, sampling rounds their weights, or they would take too much memory."""
        layers = self.policy.below(keep)
        if not layers or not isinstance(self.decoder, LlamaDecoder) or 0 in layers:
            return None
        shape = self._state_shape(prompts, sampling)
        if len(prompts) > most_sequences(len(layers), *shape):
            return None
        if self.decoder.rounds_below(self.policy.trained_from):
            return None
        return KeptStates(layers, len(prompts), *shape, self.device)

    def texts_of(self, rollout: Rollout) -> list[str]:
        """Return the answers as texts; the end token is no part of them."""
        ends = (rollout.lengths - rollout.finished.long()).tolist()
        words = [row[:n] for row, n in zip(rollout.tokens.tolist(), ends, strict=True)]
        texts: list[str] = self.tokenizer.batch_decode(words, skip_special_tokens=True)
        return texts

    def lower(
        self, rollout: Rollout, keep: frozenset[int], states: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return what every forward of a rollout starts from (B, T, ...), and the hidden states (B, T, H) to keep."""
        shape = rollout.ids.shape
        if states is not None:
            states = {layer: kept[:, : shape[1]] for layer, kept in states.items()}
            return self.policy.lower(rollout, keep, states)
        trunk = self.in_groups(rollout, lambda _, part: self.policy.lower(part, keep))
        lower = joined([(rows, of_rows) for rows, (of_rows, _) in trunk], shape)
        return lower, _joined_states([(rows, below) for rows, (_, below) in trunk], shape)

    def read(
        self, rollout: Rollout, keep: frozenset[int], states: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Return what every forward of a rollout starts from (B, T, ...), the reference's logprobs (B, N), and its
        hidden states (B, T, H) of the layers to `keep`."""
        lower, hidden = self.lower(rollout, keep, states)
        upper = self.in_groups(
            rollout,
            lambda rows, part: self.policy.reference_logprobs(lower[rows, : part.ids.shape[1]], part, keep),
        )
        ref_logprobs = joined([(rows, logprobs) for rows, (logprobs, _) in upper], rollout.mask.shape)
        above = _joined_states([(rows, states) for rows, (_, states) in upper], rollout.ids.shape)
        return lower, ref_logprobs, hidden | above

    def own_logprobs(self, lower: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return logprobs and entropies (b, n) of a process's own rows under the policy as it is, without gradients."""
        with torch.no_grad():
            found = self.in_groups(
                rollout,
                lambda rows, part: self.policy.logprobs(lower[rows, : part.ids.shape[1]], part, entropies=True),
            )
        logprobs, entropies = (joined([(rows, both[i]) for rows, both in found], rollout.mask.shape) for i in (0, 1))
        return logprobs, entropies

    def groups(self, rollout: Rollout) -> Groups:
        """Return rows (b,) that are computed at once, so that memory does not grow with the batch. False: they count
        for nothing, and are there because other processes, who share the weights, have more groups."""
        in_step = self.together.in_step(self.parts(rollout), [0])
        return [(torch.tensor(rows, device=self.device), counts) for rows, counts in in_step]

    def parts(self, rollout: Rollout) -> list[list[int]]:
        """Return the rows that are computed at once, each in one part."""
        lengths = (rollout.prompt_lengths + rollout.lengths).tolist()
        if self.policy.packed:
            return batch_planner.even_batches(lengths, self.tokens_at_once)
        return [sorted(p) for p in batch_planner.micro_batches(lengths, self.tokens_at_once, padded=True)]

    def in_groups(self, rollout: Rollout, compute: Callable[[Tensor, Rollout], T]) -> list[tuple[Tensor, T]]:
        """Return the rows of each group, with what `compute` makes of them and of their part of the rollout."""
        found = [(rows, compute(rows, rollout[rows]), counts) for rows, counts in self.groups(rollout)]
        return [(rows, result) for rows, result, counts in found if counts]

    def trained_model(self) -> sharding.Trained:
        """Return the policy as a whole model, on the first process at least, with its masters where it holds rounded
        weights. All take part."""

        def load_parent() -> Any:
            model, _ = loading.load_policy(self.spec.parent, dtype_of(self.config), to_split=True)
            any_model = self.policy.any_model
            return policy_of(model, self.spec, self.config, with_reference=False, any_model=any_model).model

        learnt: dict[str, Tensor] = {**self.policy.parameters()}
        whole = sharding.trained(self.policy.model, learnt, load_parent, is_first=self.together.is_first)
        return whole if isinstance(self.policy, RoundedPolicy) else sharding.Trained(whole.model, {})

    def seeds(self, *name: int | str, count: int) -> list[int]:
        return [sequence_seed(self.spec.seed, *name, i) for i in range(count)]


def dtype_of(config: PolicyConfig) -> torch.dtype | None:
    """Return the dtype that the policy is loaded in; None for the machine's. Where every weight learns and the model
    is not split, float32 weights become masters (`policy_kinds`)."""
    return torch.float32 if config.adapters == "full" else None


def _check_gathered(spec: RunSpec, config: PolicyConfig, together: Processes) -> None:
    """Raise RecipeFailure where a split policy, which each process gathers to draw, is known not to fit."""
    if together.is_sharded and (decoder := decoder_of_folder(Path(spec.parent))):
        dtype = dtype_of(config) or loading.compute_dtype()
        memory.check_whole(dtype.itemsize * decoder.parameters, together.count)


def _joined_states(parts: list[tuple[Tensor, dict[int, Tensor]]], shape: torch.Size) -> dict[int, Tensor]:
    """Return the hidden states of groups of rows as those of the whole batch, layer by layer."""
    return {layer: joined([(rows, states[layer]) for rows, states in parts], shape) for layer in parts[0][1]}


def widened(values: Tensor, rollout: Rollout) -> Tensor:
    """Return (b, n, ...) as (b, N, ...), N being the longest answer of a rollout; zeros behind."""
    missing = rollout.mask.shape[1] - values.shape[1]
    return torch.nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, missing)) if missing else values


def policy_of(
    model: Any, spec: RunSpec, config: PolicyConfig, *, with_reference: bool = True, kind: type[Policy] = Policy,
    any_model: bool = False,
) -> Policy:  # fmt: skip
    """Return the policy that a run trains, at its beginning. Raises RecipeFailure where its trunk cannot be shared."""
    if kind is Policy and config.adapters == "full":
        kind = RoundedPolicy
    try:
        return kind(
            model, config.adapters, temperature=config.temperature, rank=config.lora_rank,
            alpha=2.0 * config.lora_rank, seed=sequence_seed(spec.seed, "adapters"), with_reference=with_reference,
            any_model=any_model,
        )  # fmt: skip
    except CannotCut as error:
        raise RecipeFailure("cannot_share_trunk", f"adapters is top, but {error}.", "Set adapters to lora.") from error


def shuffled(n: int, *name: int | str) -> list[int]:
    """Return 0 to n - 1 in the order that these words draw; the first of them is the run's seed."""
    generator = torch.Generator().manual_seed(sequence_seed(int(name[0]), *name[1:]))
    return torch.randperm(n, generator=generator).tolist()
