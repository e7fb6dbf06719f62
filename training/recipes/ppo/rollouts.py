"""Load PPO's models, and collect scored rollouts with them (stages 1 and 2 of `training.recipes.ppo`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import loading
from training.recipes.common.entry import prompts_of
from training.recipes.common.processes import ONE_PROCESS, OwnRows, Processes
from training.recipes.engine.policy_engine import PolicyEngine, shuffled, widened
from training.recipes.ppo.drift import reward_inputs
from training.recipes.rewards.scoring import Messages, Scorer, scorer_for
from training.rl.rollout import Rollout
from training.rl.sampler import Sampling
from training.rl.value import ValueHead, prefix_features, state_features


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


@dataclass(frozen=True)
class Asked:
    """Say which prompts are to be answered, of those that are trained on or of the held-out ones, and by what seeds."""

    indices: list[int]
    seeds: list[int]
    held_out: bool = False


class PPO(PolicyEngine):
    """Hold what the steps share: the models, the prompts, and the clock of each stage."""

    config: PPOConfig

    def __init__(self, run: RunDirectory, spec: RunSpec, config: PPOConfig, together: Processes = ONE_PROCESS) -> None:
        self._rows = prompts_of(run, "Freeze a dataset of prompts of the train split first.")
        self.scorer: Scorer = scorer_for(spec, config, self._rows, run)
        super().__init__(run, spec, config, together)
        self.end_ids += self._stop_ids(config.stop_token)
        most = min(config.max_prompt_tokens, self.scorer.max_prompt_tokens or config.max_prompt_tokens)
        longest = self.prompt_room(most, config.max_new_tokens)
        self._encoded = [loading.encode_prompt(self.tokenizer, row["messages"], longest) for row in self._rows]
        self.hold_out(held_out_rows(len(self._rows), config.held_out_prompts, spec.seed))
        self.plan_for(longest + config.max_new_tokens)
        self.sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p, config.top_k)
        self.value_layer = self.policy.cut or round(self.policy.depth * 2 / 3)
        self.value_features = self._reward_features() if config.value_init == "reward" else ()
        parts = len(self.value_features) or 2
        self.value = ValueHead(parts * self.policy.model.config.hidden_size).to(self.device)

    def hold_out(self, rows: list[int]) -> None:
        """Keep these prompts of the dataset out of calibration and training: `held_out` has them."""
        apart = set(rows)
        kept_rows = [i for i in range(len(self._rows)) if i not in apart]
        self.held_out_rows = sorted(apart)
        self.messages: list[Messages] = [self._rows[i]["messages"] for i in kept_rows]
        self.prompt_ids = [self._rows[i].get("id") for i in kept_rows]
        self.prompts = [self._encoded[i] for i in kept_rows]
        self.held_out = [(self._rows[i]["messages"], self._encoded[i]) for i in self.held_out_rows]

    def collect(
        self, indices: list[int], seeds: list[int], *, held_out: bool = False, sampling: Sampling | None = None
    ) -> Episodes:
        """Run stages 1 and 2: completions of these prompts, with scores and what the reference says of them.

        `held_out`: the indices are of the held-out prompts. `sampling`: as rollouts are drawn, unless given.
        """
        return next(self.collect_all([Asked(indices, seeds, held_out)], sampling))

    def collect_batches(
        self, indices: list[int], seeds: list[int], sampling: Sampling | None = None
    ) -> Iterator[Episodes]:
        """Yield what `collect` returns for each batch of these prompts."""
        starts, size = range(0, len(indices), self.config.batch_size), self.config.batch_size
        asked = [Asked(indices[first : first + size], seeds[first : first + size]) for first in starts]
        yield from self.collect_all(asked, sampling)

    def collect_all(self, asked: Sequence[Asked], sampling: Sampling | None = None) -> Iterator[Episodes]:
        """Yield what `collect` returns for each of them. A process that works alone draws several at once, as many as
        their caches have room for: 128 answers take half as long as four times 32. All of it is by the policy as it is
        when the first is asked for, or a later one that had no room beside it."""
        sampling = sampling or self.sampling
        for together in self._drawn_at_once(asked, sampling):
            prompts = [prompt for one in together for prompt in self._prompts_of(one)]
            seeds = [seed for one in together for seed in one.seeds]
            rollout, logprobs, states = self.draw_prompts(prompts, seeds, sampling, self._read_layers)
            places = torch.arange(len(prompts), device=self.device).split([len(one.indices) for one in together])
            for one, rows in zip(together, places, strict=True):
                batch, kept = rollout, states
                if len(together) > 1:
                    batch = rollout[rows]
                    kept = None if states is None else {layer: state[rows] for layer, state in states.items()}
                messages = [self.held_out[i][0] if one.held_out else self.messages[i] for i in one.indices]
                yield self.score(one.indices, messages, batch, logprobs[rows, : batch.mask.shape[1]], kept)

    def _drawn_at_once(self, asked: Sequence[Asked], sampling: Sampling) -> Iterator[list[Asked]]:
        """Yield them in their order, in groups that are drawn at once."""
        if self.together.count > 1:
            yield from ([one] for one in asked)
            return
        prompts = [prompt for one in asked for prompt in self._prompts_of(one)]
        room = self.rows_at_once(prompts, sampling, self._read_layers)
        group: list[Asked] = []
        for one in asked:
            if group and sum(len(other.indices) for other in (*group, one)) > room:
                yield group
                group = []
            group.append(one)
        if group:
            yield group

    def score(
        self, indices: list[int], messages: list[Messages], rollout: Rollout, drawn_logprobs: Tensor,
        states: dict[int, Tensor] | None = None,
    ) -> Episodes:  # fmt: skip
        """Run stage 2 on answers that were drawn here or elsewhere, `drawn_logprobs` (B, N) by what drew them.

        `states` are hidden states of a process's own rows that the sampler has kept.
        """
        own = self.own_rows(len(rollout))
        own_rollout = rollout if self.together.count == 1 else rollout[torch.tensor(own.rows, device=self.device)]
        with self.stage("scoring"), torch.no_grad():
            texts = self.texts_of(rollout)
            lower, ref_logprobs, hidden = self.read(own_rollout, self._read_layers, states)
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

    def policy_logprobs(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Return logprobs and entropies (b, n) of a process's own rows under the policy as it is, without gradients."""
        return self.own_logprobs(episodes.lower, episodes.own_rollout)

    def merged(self, values: Tensor, episodes: Episodes) -> Tensor:
        """Return values of a process's own rows (b, n, ...) as those of all rows (B, N, ...)."""
        return self.together.merged(widened(values, episodes.rollout), episodes.own, len(episodes.rollout))

    def draw(
        self, indices: list[int], seeds: list[int], *, held_out: bool = False, sampling: Sampling | None = None
    ) -> tuple[Rollout, Tensor]:
        """Return completions of these prompts by the policy as it is, and their tokens' logprobs (B, N) in the
        sampler."""
        prompts = self._prompts_of(Asked(indices, seeds, held_out))
        return self.draw_prompts(prompts, seeds, sampling or self.sampling)[:2]

    def _prompts_of(self, asked: Asked) -> list[list[int]]:
        return [self.held_out[i][1] if asked.held_out else self.prompts[i] for i in asked.indices]

    @property
    def _read_layers(self) -> frozenset[int]:
        """Return the layers whose states reward and value read."""
        return self.scorer.layers | {self.value_layer}

    def sequences(self, count: int) -> list[list[int]]:
        """Return token ids of some prompts with an answer of the policy's each."""
        indices = list(range(min(count, len(self.prompts))))
        return sequences_of(self.draw(indices, self.seeds("fidelity", count=len(indices)))[0], count)

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


def sequences_of(rollout: Rollout, count: int) -> list[list[int]]:
    """Return token ids of the first `count` prompts with their answers."""
    ends = (rollout.prompt_lengths + rollout.lengths).tolist()
    return [ids[:end] for ids, end in zip(rollout.ids.tolist(), ends[:count], strict=False)]


def held_out_rows(count: int, most: int, seed: int) -> list[int]:
    """Return at most `most` of `count` prompts and at most a tenth of them, drawn by the seed."""
    return shuffled(count, seed, "held-out prompts")[: min(most, count // 10)]
