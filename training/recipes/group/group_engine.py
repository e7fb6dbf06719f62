"""Draw a step's answers, group by group, and score them (`training.recipes.group.group_policy`).

A step's prompts and the seeds of its answers follow from the run's seed and the step alone: a run that is resumed, or
goes on with another number of processes, draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.configs.group import GroupConfig
from training.core import batch_planner
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import loading
from training.recipes.common.processes import ONE_PROCESS, OwnRows, Processes
from training.recipes.engine.policy_engine import PolicyEngine, widened
from training.recipes.rewards.part_scores import Scored
from training.recipes.rewards.scoring import Messages, PartsScorer, Scorer, answers_of, part_values, scorer_for
from training.rl.guards import distinct_share
from training.rl.rollout import Rollout
from training.rl.sampler import Sampling


@dataclass(frozen=True)
class Answers:
    """Hold a step's scored answers: scores (B,) as they are rewarded, ref_logprobs (B, N) of the parent, None where
    nothing asks for them; figures that are logged.

    Several processes each have all of it but `lower`, which they have of their `own` rows, in the widths of
    `own_rollout`.
    """

    rollout: Rollout
    scores: Tensor
    ref_logprobs: Tensor | None
    lower: Tensor
    own: OwnRows
    own_rollout: Rollout
    figures: dict[str, float]


class GroupEngine(PolicyEngine):
    """Hold the models, the prompts and how they are scored."""

    config: GroupConfig

    def __init__(
        self, run: RunDirectory, spec: RunSpec, config: GroupConfig, together: Processes = ONE_PROCESS
    ) -> None:
        self.scorer: Scorer = scorer_for(spec, config, run.rows("prompts"), run)
        super().__init__(run, spec, config, together, any_model=True)
        most = self.prompt_room(config.max_prompt_tokens, config.max_new_tokens)
        self.messages, self.prompts, self.too_long = prompts_for(run, self.tokenizer, most)
        self.order = order(len(self.prompts), spec.seed, config)
        self.sampling = Sampling(config.max_new_tokens, config.temperature)
        longest = max(map(len, self.prompts))
        # A reward model rides on the parent's states where these are what it was trained on.
        rides = self.policy.reads_states and longest <= (self.scorer.max_prompt_tokens or longest)
        self.layers: frozenset[int] = self.scorer.layers if rides else frozenset()
        self.has_reference = config.beta > 0 or bool(self.layers)
        if not self.has_reference:
            self.policy.reference = None
        self.plan_for(longest + config.max_new_tokens)

    def collect(self, step: int) -> Answers:
        """Draw a group of answers to each of the step's prompts, and score them."""
        config = self.config
        count = config.batch_size // config.group_size
        indices = [i for i in self.order[step * count : (step + 1) * count] for _ in range(config.group_size)]
        prompts, seeds = [self.prompts[i] for i in indices], self.seeds("group", step, count=len(indices))
        rollout, _, states = self.draw_prompts(prompts, seeds, self.sampling, self.layers)
        own = self.own_rows(len(rollout))
        own_rollout = rollout if self.together.count == 1 else rollout[torch.tensor(own.rows, device=self.device)]
        with self.stage("scoring"), torch.no_grad():
            texts, ref_logprobs = self.texts_of(rollout), None
            if self.has_reference:
                lower, own_ref_logprobs, hidden = self.read(own_rollout, self.layers, states)
                ref_logprobs = self.together.merged(widened(own_ref_logprobs, rollout), own, len(rollout))
            else:
                lower, hidden = self.lower(own_rollout, self.layers, states)
            own_messages = [self.messages[indices[row]] for row in own.rows]
            scored = self.scorer.scored(own_messages, [texts[row] for row in own.rows], hidden, own_rollout)
            scores = self.together.merged(self.rewarded(scored), own, len(rollout))
            parts = {name: self.together.merged(v, own, len(rollout)) for name, v in scored.figures.items()}
        figures = {"distinct": distinct_share(texts)} | {name: float(v.mean()) for name, v in parts.items()}
        return Answers(rollout, scores, ref_logprobs, lower, own, own_rollout, figures)

    def rewarded(self, scored: Scored) -> Tensor:
        """Return scores as they are rewarded: those of a single reward model in standard deviations of its training,
        clipped; those of a function and of parts as they are."""
        model = self.scorer.model
        if self.config.rewards or model is None:
            return scored.scores
        scores = (scored.scores - model.score_mean) / model.score_std
        clip = self.config.score_clip
        return scores.clamp(-clip, clip) if clip else scores

    def of_samples(self, messages: list[Messages], texts: list[str]) -> list[tuple[float, dict[str, float]]]:
        """Return the score of each answer and what the parts of a reward say of it, for those who watch."""
        assert isinstance(self.scorer, PartsScorer)
        scored = self.scorer.parts(messages, answers_of(texts, {})[0])
        return [(score, part_values(scored.figures, row)) for row, score in enumerate(scored.scores.tolist())]

    def merged(self, values: Tensor, answers: Answers) -> Tensor:
        """Return values of a process's own rows (b, n) as those of all rows (B, N)."""
        return self.together.merged(widened(values, answers.rollout), answers.own, len(answers.rollout))

    def own_rows(self, count: int) -> OwnRows:
        """Return this process's part of a batch of so many rows: whole groups, where each process gets as many."""
        G, processes = self.config.group_size, self.together.count
        unit = 1 if count % (G * processes) else G
        own = [row for row in range(count) if row // unit % processes == self.together.rank]
        return OwnRows(own or [0], len(own))

    def parts(self, rollout: Rollout) -> list[list[int]]:
        """Return the rows that are computed at once: within micro_batch_size, and answers to one prompt together, whose
        prompt is computed once where nothing is padded."""
        rows, limit = list(range(len(rollout))), self.config.micro_batch_size
        most = max(1, limit // self.together.count) if limit else len(rows)
        return [part for at in range(0, len(rows), most) for part in self._parts(rollout, rows[at : at + most])]

    def _parts(self, rollout: Rollout, rows: list[int]) -> list[list[int]]:
        prompts, answers = rollout.prompt_lengths.tolist(), rollout.lengths.tolist()
        if not self.policy.packed:
            lengths = [prompts[row] + answers[row] for row in rows]
            parts = batch_planner.micro_batches(lengths, self.tokens_at_once, padded=True)
            return [sorted(rows[i] for i in part) for part in parts]
        units = units_of(rollout, rows, self.tokens_at_once)
        sizes = [prompts[unit[0]] + sum(answers[row] for row in unit) for unit in units]
        parts = batch_planner.even_batches(sizes, self.tokens_at_once)
        return [sorted(row for i in part for row in units[i]) for part in parts]


def units_of(rollout: Rollout, rows: Sequence[int], tokens: int) -> list[list[int]]:
    """Return neighbouring rows with one prompt, as many together as have `tokens` tokens, one at least."""
    prompt_lengths, answers = rollout.prompt_lengths.tolist(), rollout.lengths.tolist()
    ids, units = rollout.ids.tolist(), list[list[int]]()
    for _, alike in groupby(rows, lambda row: ids[row][: prompt_lengths[row]]):
        filled = tokens + 1
        for row in alike:
            if filled + answers[row] > tokens:
                units.append([])
                filled = prompt_lengths[row]
            units[-1].append(row)
            filled += answers[row]
    return units


def prompts_for(run: RunDirectory, tokenizer: Any, most: int) -> tuple[list[Messages], list[list[int]], int]:
    """Return the prompts of at most `most` tokens, their token ids, and how many longer ones were left out."""
    messages = [row["messages"] for row in run.rows("prompts")]
    encoded = [loading.encode_prompt(tokenizer, m, most + 1) for m in messages]
    fitting = [i for i, ids in enumerate(encoded) if len(ids) <= most]
    if not fitting:
        raise RecipeFailure(
            "no_prompts",
            f"None of the {len(messages)} prompts has at most {most} tokens.",
            "Freeze a dataset of prompts of the train split first, or raise max_prompt_tokens.",
        )
    return [messages[i] for i in fitting], [encoded[i] for i in fitting], len(messages) - len(fitting)


def order(count: int, seed: int, config: GroupConfig) -> list[int]:
    """Return which prompt comes when: the steps' prompts, all of them once before any comes again, each pass shuffled
    anew."""
    prompt_count = config.steps * config.batch_size // config.group_size
    passes = range(-(-prompt_count // count))
    return [int(i) for p in passes for i in np.random.default_rng([seed, p]).permutation(count)][:prompt_count]
