"""Load PPO's models, and collect scored rollouts with them (stages 1 and 2 of `training.recipes.ppo`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.core import batch_planner
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import loading, memory, sharding
from training.recipes.common.entry import prompts_of
from training.recipes.common.processes import ONE_PROCESS, OwnRows, Processes
from training.recipes.ppo.drift import reward_inputs
from training.recipes.ppo.policy_kinds import RoundedPolicy, SplitPolicy
from training.recipes.rewards.scoring import Messages, Scorer, scorer_for
from training.rl.decode import LlamaDecoder, decoder_for
from training.rl.kept_states import KeptStates, fits
from training.rl.module_decoder import ModuleDecoder
from training.rl.policy import CannotCut, Policy
from training.rl.rollout import Rollout, joined, rollout_of
from training.rl.sampler import Completions, Sampling, sample, sequence_seed
from training.rl.value import ValueHead, prefix_features, state_features

T = TypeVar("T")


@dataclass(frozen=True)
class Episodes:
    """A scored rollout: scores (B,) raw, ref_logprobs (B, N), features (B, N, F), lower as Policy.lower gives it.

    drawn_logprobs (B, N): of the tokens under what the sampler drew them from.
    indices: which prompts; inputs (B, G): what the reward model saw, see `training.recipes.ppo.drift`;
    gold (B,): raw scores by the reward model's second head, where it has one. parts (B,): what each part of the reward
    says, by the names of figures.
    Several processes each have all of it but `lower` and `features`, which they have of their `own` rows, in the widths
    of `own_rollout`.
    """

    rollout: Rollout
    indices: list[int]
    prompts: list[Messages]
    texts: list[str]
    scores: Tensor
    lower: Tensor
    ref_logprobs: Tensor
    features: Tensor
    inputs: Tensor
    drawn_logprobs: Tensor
    own: OwnRows
    own_rollout: Rollout
    gold: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


class PPO:
    """Hold what the steps share: the models, the prompts, and the clock of each stage."""

    def __init__(self, run: RunDirectory, spec: RunSpec, config: PPOConfig, together: Processes = ONE_PROCESS) -> None:
        self.run, self.spec, self.config, self.together = run, spec, config, together
        self._rows = prompts_of(run, "Freeze a dataset of prompts of the train split first.")
        self.scorer: Scorer = scorer_for(spec, config, self._rows, run)
        model, self.tokenizer = loading.load_policy(spec.parent, dtype_of(config), to_split=together.is_sharded)
        loading.require_readable_logits(model)
        self.device = loading.device() if together.is_sharded else next(model.parameters()).device
        self.end_ids = [*loading.eos_token_ids(model, self.tokenizer), *self._stop_ids(config.stop_token)]
        longest = min(config.max_prompt_tokens, self.scorer.max_prompt_tokens or config.max_prompt_tokens)
        self._encoded = [loading.encode_prompt(self.tokenizer, row["messages"], longest) for row in self._rows]
        self.hold_out(held_out_rows(len(self._rows), config.held_out_prompts, spec.seed))
        self.policy = policy_of(model, spec, config, kind=SplitPolicy if together.is_sharded else Policy)
        # Of a split model no layout is copied: its weights are whole for as long as it samples.
        exact_below = self.policy.trained_from  # from there on others compute, by the states that the decoder keeps
        self.decoder = ModuleDecoder(model) if together.is_sharded else decoder_for(model, exact_below=exact_below)
        if isinstance(self.decoder, LlamaDecoder) and not self.decoder.output.rounds:
            self.policy.output = self.decoder.output  # is laid out already: 1.4 times as fast on a processor
        self.tokens_at_once = self._tokens_at_once(longest + config.max_new_tokens)
        self.sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p, config.top_k)
        self.value_layer = self.policy.cut or round(self.policy.depth * 2 / 3)
        self.value_features = self._reward_features() if config.value_init == "reward" else ()
        parts = len(self.value_features) or 2
        self.value = ValueHead(parts * model.config.hidden_size).to(self.device)
        self.seconds: dict[str, float] = {}

    def _tokens_at_once(self, length: int) -> int:
        """Return how many tokens are forwarded at once, of sequences of at most this length: by the machine and the
        model, so that memory does not grow with the batch."""
        return batch_planner.tokens_at_once(
            self._shape(self.policy.depth - self.policy.trained_from), longest=length,
            memory=memory.total_memory(), on_cpu=self.device.type == "cpu",
        )  # fmt: skip

    def _shape(self, layers: int) -> batch_planner.Shape:
        model = self.policy.model
        return batch_planner.shape_of(
            model.config, layers=layers, packed=self.policy.packed,
            dtype_bytes=model.get_input_embeddings().weight.dtype.itemsize,
        )  # fmt: skip

    def hold_out(self, rows: list[int]) -> None:
        """Keep these prompts of the dataset out of calibration and training: `held_out` has them."""
        apart = set(rows)
        kept_rows = [i for i in range(len(self._rows)) if i not in apart]
        self.held_out_rows = sorted(apart)
        self.messages: list[Messages] = [self._rows[i]["messages"] for i in kept_rows]
        self.prompt_ids = [self._rows[i].get("id") for i in kept_rows]
        self.prompts = [self._encoded[i] for i in kept_rows]
        self.held_out = [(self._rows[i]["messages"], self._encoded[i]) for i in self.held_out_rows]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def collect(
        self, indices: list[int], seeds: list[int], *, held_out: bool = False, sampling: Sampling | None = None
    ) -> Episodes:
        """Run stages 1 and 2: completions of these prompts, with scores and what the reference says of them.

        `held_out`: the indices are of the held-out prompts. `sampling`: as rollouts are drawn, unless given.
        """
        messages = [self.held_out[i][0] if held_out else self.messages[i] for i in indices]
        rollout, drawn_logprobs, states = self._draw(indices, seeds, held_out, sampling, keeps_states=True)
        return self.score(indices, messages, rollout, drawn_logprobs, states)

    def score(
        self, indices: list[int], messages: list[Messages], rollout: Rollout, drawn_logprobs: Tensor,
        states: dict[int, Tensor] | None = None,
    ) -> Episodes:  # fmt: skip
        """Run stage 2 on answers that were drawn here or elsewhere, `drawn_logprobs` (B, N) by what drew them.

        `states` are hidden states of a process's own rows that the sampler has kept.
        """
        own = self.together.own_rows(len(rollout))
        own_rollout = rollout if self.together.count == 1 else rollout[torch.tensor(own.rows, device=self.device)]
        with self.stage("scoring"), torch.no_grad():
            ends = (rollout.lengths - rollout.finished.long()).tolist()  # the end token is no part of the text
            words = [row[:n] for row, n in zip(rollout.tokens.tolist(), ends, strict=True)]
            texts = self.tokenizer.batch_decode(words, skip_special_tokens=True)
            lower, ref_logprobs, hidden = self._read(own_rollout, states)
            own_messages, own_texts = [messages[i] for i in own.rows], [texts[i] for i in own.rows]
            scored = self.scorer.scored(own_messages, own_texts, hidden, own_rollout)
            if self.value_features:
                features = prefix_features(hidden, own_rollout, self.value_features)
            else:
                features = state_features(hidden[self.value_layer], own_rollout)
            inputs = reward_inputs(self.scorer, hidden, own_rollout, self.value_layer)
            scores, inputs, ref_logprobs = (
                self.together.merged(values, own, len(rollout))
                for values in (scored.scores, inputs, widened(ref_logprobs, rollout))
            )
            gold = None if scored.gold is None else self.together.merged(scored.gold, own, len(rollout))
            parts = {name: self.together.merged(v, own, len(rollout)) for name, v in scored.figures.items()}
        return Episodes(
            rollout, indices, messages, texts, scores, lower, ref_logprobs, features, inputs, drawn_logprobs, own,
            own_rollout, gold, parts,
        )  # fmt: skip

    def _read(self, rollout: Rollout, states: dict[int, Tensor] | None) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Return what every forward of a rollout starts from (B, T, ...), the reference's logprobs (B, N), and the
        hidden states (B, T, H) that reward and value read."""
        keep, shape = self._read_layers, rollout.ids.shape
        if states is not None:
            states = {layer: kept[:, : shape[1]] for layer, kept in states.items()}
            lower, hidden = self.policy.lower(rollout, keep, states)
        else:
            trunk = self.in_groups(rollout, lambda _, part: self.policy.lower(part, keep))
            lower = joined([(rows, of_rows) for rows, (of_rows, _) in trunk], shape)
            hidden = _joined_states([(rows, below) for rows, (_, below) in trunk], shape)
        upper = self.in_groups(
            rollout,
            lambda rows, part: self.policy.reference_logprobs(lower[rows, : part.ids.shape[1]], part, keep),
        )
        ref_logprobs = joined([(rows, logprobs) for rows, (logprobs, _) in upper], rollout.mask.shape)
        return lower, ref_logprobs, hidden | _joined_states([(rows, above) for rows, (_, above) in upper], shape)

    def policy_logprobs(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Return logprobs and entropies (b, n) of a process's own rows under the policy as it is, without gradients."""
        lower, rollout = episodes.lower, episodes.own_rollout
        with torch.no_grad():
            found = self.in_groups(
                rollout,
                lambda rows, part: self.policy.logprobs(lower[rows, : part.ids.shape[1]], part, entropies=True),
            )
        logprobs, entropies = (joined([(rows, both[i]) for rows, both in found], rollout.mask.shape) for i in (0, 1))
        return logprobs, entropies

    def groups(self, rollout: Rollout) -> list[tuple[Tensor, bool]]:
        """Return rows (b,) that are computed at once, so that memory does not grow with the batch. False: they count
        for nothing, and are there because other processes, who share the weights, have more groups."""
        lengths = (rollout.prompt_lengths + rollout.lengths).tolist()
        if self.policy.packed:
            parts = batch_planner.even_batches(lengths, self.tokens_at_once)
        else:
            parts = [sorted(p) for p in batch_planner.micro_batches(lengths, self.tokens_at_once, padded=True)]
        in_step = self.together.in_step(parts, [0])
        return [(torch.tensor(rows, device=self.device), counts) for rows, counts in in_step]

    def in_groups(self, rollout: Rollout, compute: Callable[[Tensor, Rollout], T]) -> list[tuple[Tensor, T]]:
        """Return the rows of each group, with what `compute` makes of them and of their part of the rollout."""
        found = [(rows, compute(rows, rollout[rows]), counts) for rows, counts in self.groups(rollout)]
        return [(rows, result) for rows, result, counts in found if counts]

    def merged(self, values: Tensor, episodes: Episodes) -> Tensor:
        """Return values of a process's own rows (b, n, ...) as those of all rows (B, N, ...)."""
        return self.together.merged(widened(values, episodes.rollout), episodes.own, len(episodes.rollout))

    def draw(
        self, indices: list[int], seeds: list[int], *, held_out: bool = False, sampling: Sampling | None = None
    ) -> tuple[Rollout, Tensor]:
        """Return completions of these prompts by the policy as it is, and their tokens' logprobs (B, N) in the
        sampler."""
        return self._draw(indices, seeds, held_out, sampling, keeps_states=False)[:2]

    def _draw(
        self, indices: list[int], seeds: list[int], held_out: bool, sampling: Sampling | None, *, keeps_states: bool
    ) -> tuple[Rollout, Tensor, dict[int, Tensor] | None]:
        """Return what `draw` does, and the states of this process's own rows that `score` would compute again."""
        prompts = [self.held_out[i][1] if held_out else self.prompts[i] for i in indices]
        own = self.together.own_rows(len(prompts))
        with self.stage("sampling"), sharding.whole(self.policy.model):
            self.decoder.refresh(self.policy.trained_from)
            own_prompts, sampling = [prompts[i] for i in own.rows], sampling or self.sampling
            kept = self._kept_states(own_prompts, sampling) if keeps_states else None
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

    @property
    def _read_layers(self) -> frozenset[int]:
        """Return the layers whose states reward and value read."""
        return self.scorer.layers | {self.value_layer}

    def _kept_states(self, prompts: list[list[int]], sampling: Sampling) -> KeptStates | None:
        """Return where the sampler keeps the frozen trunk's states of these prompts' answers; None where they are to be
        computed again: no layer is shared, sampling rounds their weights, or they would take too much memory."""
        layers = self.policy.below(self._read_layers)
        if not layers or not isinstance(self.decoder, LlamaDecoder) or 0 in layers:
            return None
        weight = self.policy.model.get_input_embeddings().weight
        tokens = max(map(len, prompts)) + sampling.max_new_tokens
        if not fits(len(layers), len(prompts), tokens, weight.shape[1], weight.dtype):
            return None
        if self.decoder.rounds_below(self.policy.trained_from):
            return None
        return KeptStates(layers, len(prompts), tokens, weight.shape[1], weight.dtype, self.device)

    def trained_model(self) -> sharding.Trained:
        """Return the policy as a whole model, on the first process at least, with its masters where it holds rounded
        weights. All take part."""

        def load_parent() -> Any:
            model, _ = loading.load_policy(self.spec.parent, dtype_of(self.config), to_split=True)
            return policy_of(model, self.spec, self.config, with_reference=False).model

        learnt: dict[str, Tensor] = {**self.policy.parameters()}
        whole = sharding.trained(self.policy.model, learnt, load_parent, is_first=self.together.is_first)
        return whole if isinstance(self.policy, RoundedPolicy) else sharding.Trained(whole.model, {})

    def sequences(self, count: int) -> list[list[int]]:
        """Return token ids of some prompts with an answer of the policy's each."""
        indices = list(range(min(count, len(self.prompts))))
        rollout, _ = self.draw(indices, self.seeds("fidelity", count=len(indices)))
        ends = (rollout.prompt_lengths + rollout.lengths).tolist()
        return [ids[:end] for ids, end in zip(rollout.ids.tolist(), ends, strict=True)]

    def _stop_ids(self, token: str) -> list[int]:
        if not token:
            return []
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == self.tokenizer.pad_token_id:
            raise RecipeFailure(
                "bad_stop_token",
                f"stop_token {token!r} is {len(ids)} tokens of this model, or its padding; it must be one token.",
                "Use a token of the tokenizer's vocabulary, or leave it empty for the model's own end tokens.",
            )
        return ids

    def _reward_features(self) -> tuple[tuple[int, str], ...]:
        model = self.scorer.model
        if model is None or not self.scorer.layers:
            raise RecipeFailure(
                "no_head_to_begin_from",
                "value_init is reward, but the reward model has its own trunk, or was trained on another parent.",
                "Set value_init to new, or train a reward model of method head on this parent.",
            )
        return model.features

    def prompt_order(self, step: int) -> list[int]:
        """Return the prompts of a step: the list is shuffled anew for each pass over it."""
        B = self.config.batch_size
        return self.shuffled_prompts("prompts", step * B, (step + 1) * B)

    def shuffled_prompts(self, name: str, start: int, stop: int) -> list[int]:
        """Return the prompts at these places of the order that `name` draws: pass after pass, each shuffled anew."""
        n, numbers = len(self.prompts), range(start, stop)
        shuffles = {epoch: shuffled(n, self.spec.seed, name, epoch) for epoch in {p // n for p in numbers}}
        return [shuffles[number // n][number % n] for number in numbers]

    def seeds(self, *name: int | str, count: int) -> list[int]:
        return [sequence_seed(self.spec.seed, *name, i) for i in range(count)]


def dtype_of(config: PPOConfig) -> torch.dtype | None:
    """Return the dtype that the policy is loaded in; None for the machine's. Where every weight learns and the model
    is not split, float32 weights become masters (`policy_kinds`)."""
    return torch.float32 if config.adapters == "full" else None


def _joined_states(parts: list[tuple[Tensor, dict[int, Tensor]]], shape: torch.Size) -> dict[int, Tensor]:
    """Return the hidden states of groups of rows as those of the whole batch, layer by layer."""
    return {layer: joined([(rows, states[layer]) for rows, states in parts], shape) for layer in parts[0][1]}


def widened(values: Tensor, rollout: Rollout) -> Tensor:
    """Return (b, n, ...) as (b, N, ...), N being the longest answer of a rollout; zeros behind."""
    missing = rollout.mask.shape[1] - values.shape[1]
    return torch.nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, missing)) if missing else values


def policy_of(
    model: Any, spec: RunSpec, config: PPOConfig, *, with_reference: bool = True, kind: type[Policy] = Policy
) -> Policy:
    """Return the policy that a run trains, at its beginning. Raises RecipeFailure where its trunk cannot be shared."""
    if kind is Policy and config.adapters == "full":
        kind = RoundedPolicy
    try:
        return kind(
            model, config.adapters, temperature=config.temperature, rank=config.lora_rank,
            alpha=2.0 * config.lora_rank, seed=sequence_seed(spec.seed, "adapters"), with_reference=with_reference,
        )  # fmt: skip
    except CannotCut as error:
        raise RecipeFailure("cannot_share_trunk", f"adapters is top, but {error}.", "Set adapters to lora.") from error


def shuffled(n: int, *name: int | str) -> list[int]:
    """Return 0 to n - 1 in the order that these words draw; the first of them is the run's seed."""
    generator = torch.Generator().manual_seed(sequence_seed(int(name[0]), *name[1:]))
    return torch.randperm(n, generator=generator).tolist()


def held_out_rows(count: int, most: int, seed: int) -> list[int]:
    """Return at most `most` of `count` prompts and at most a tenth of them, drawn by the seed."""
    return shuffled(count, seed, "held-out prompts")[: min(most, count // 10)]
