"""Mix in other text whose likelihood is kept up while the policy follows the reward (Ouyang 2022, 2203.02155).

The text is the run's second dataset: documents of a corpus, cut into pieces, or instruction examples, whose completions
alone count; where it holds more than the run can take, what is taken is spread evenly over all of it. Without one it is
the parent's own completions, as a guard against forgetting how the parent wrote. Some of it is held back, whole prompts
of examples, and its loss tells how the older skill fares, whether or not anything is mixed in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from training.configs import PPOConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory, read_lines
from training.recipes.common import loading
from training.recipes.engine.policy_engine import shuffled
from training.recipes.ppo.rollouts import PPO
from training.recipes.sft.examples import kin_of
from training.rl import advantages as adv
from training.rl.rollout import Rollout, rollout_of
from training.rl.sampler import Completions

HELD_OUT = 32  # sequences, at most
MOST = 20_000  # sequences kept in memory
Piece = tuple[list[int], list[int]]  # what is given, what is to be likely
T = TypeVar("T")


@dataclass(frozen=True)
class Mixture:
    """Token ids of the text that is mixed in, and of the text held back."""

    train: list[Piece]
    held_out: list[Piece]

    def batch(self, ppo: PPO, *name: int | str) -> Rollout:
        """Return the sequences of one optimiser step, drawn by its name."""
        count = min(ppo.config.ptx_batch_size, len(self.train))
        chosen = shuffled(len(self.train), ppo.spec.seed, "ptx", *name)[:count]
        return as_rollout([self.train[i] for i in chosen], ppo)


def has_other_text(run: RunDirectory) -> bool:
    return any((run.path / "data" / "other").glob("*.jsonl"))


def mixture(ppo: PPO) -> Mixture | None:
    """Return the run's second dataset; None when it has none. Raises RecipeFailure when it holds nothing to learn
    from."""
    if not has_other_text(ppo.run):
        return None
    folder = ppo.run.path / "data" / "other"
    held_out = [piece for _, piece in _draw_sequences(ppo, _files(folder, is_held_out=True), HELD_OUT)]
    wanted_count = ppo.config.steps * ppo.config.epochs * ppo.config.steps_a_pass * ppo.config.ptx_batch_size
    pieces = _draw_sequences(ppo, _files(folder, is_held_out=False), min(MOST, wanted_count + HELD_OUT))
    train = [piece for _, piece in pieces]
    if not held_out:
        train, held_out = _hold_out(pieces)
    if not train:
        raise RecipeFailure(
            "nothing_to_mix_in",
            f"The second dataset holds {len(held_out)} usable texts, too few to train on and to hold some out.",
            "Add more texts, or leave the dataset out: then the parent's own completions are used.",
        )
    return Mixture(train, held_out)


def ptx_losses(ppo: PPO, batch: Rollout) -> list[Callable[[], Tensor]]:
    """Return, for rows that are computed at once, what computes their part of the mean negative log likelihood of the
    batch's tokens under the policy, in nats, at temperature 1: they add up to it. Of several processes each has its
    part."""
    own = ppo.together.own_rows(len(batch))
    own_batch = batch if ppo.together.count == 1 else batch[torch.tensor(own.rows, device=ppo.device)]
    tokens = float(batch.mask.sum())

    def loss(part: Rollout, share: float) -> Tensor:
        temperature, ppo.policy.temperature = ppo.policy.temperature, 1.0
        try:
            likelihood, _ = ppo.policy.logprobs(ppo.policy.lower(part)[0], part)
        finally:
            ppo.policy.temperature = temperature
        return -adv.masked_mean(likelihood, part.mask) * share

    parts = [(own_batch[rows], counts) for rows, counts in ppo.groups(own_batch)]
    return [
        partial(loss, part, float(part.mask.sum()) / tokens if own.counting and counts else 0.0)
        for part, counts in parts
    ]


@torch.no_grad()
def held_out_loss(ppo: PPO, held_out_batches: list[Rollout]) -> float:
    """Return the loss of the policy as it is, over all held-out tokens."""
    tokens = [int(batch.mask.sum()) for batch in held_out_batches]
    total = sum(
        float(compute()) * n for b, n in zip(held_out_batches, tokens, strict=True) for compute in ptx_losses(ppo, b)
    )
    return ppo.together.total(total)[0] / max(1, sum(tokens))


def held_out_batches(ppo: PPO, mixture_: Mixture | None, own_batches: list[Rollout]) -> list[Rollout]:
    """Return what `held_out_loss` is taken over: of the second dataset, else the last batch of the parent's own
    answers."""
    if mixture_ is None:
        return own_batches[-1:] if len(own_batches) > 1 else []
    size = ppo.config.ptx_batch_size
    return [as_rollout(mixture_.held_out[i : i + size], ppo) for i in range(0, len(mixture_.held_out), size)]


def as_rollout(sequences: list[Piece], ppo: PPO) -> Rollout:
    """Return the sequences in the form of sampled ones, their second parts as what was drawn."""
    lengths = torch.tensor([len(tail) for _, tail in sequences])
    tokens = torch.full((len(sequences), int(lengths.max())), ppo.tokenizer.pad_token_id)
    for row, (_, tail) in enumerate(sequences):
        tokens[row, : len(tail)] = torch.tensor(tail)
    lengths = lengths.to(ppo.device)
    completions = Completions(tokens.to(ppo.device), lengths, torch.ones_like(lengths, dtype=torch.bool))
    return rollout_of([head for head, _ in sequences], completions, ppo.tokenizer.pad_token_id)


def _files(folder: Path, *, is_held_out: bool) -> list[Path]:
    """Return the files: held-out documents of a corpus lie in a file of their own; examples have none."""
    return [path for path in sorted(folder.glob("*.jsonl")) if (path.name == "validation.jsonl") == is_held_out]


def _draw_sequences(ppo: PPO, files: list[Path], limit: int) -> list[tuple[str, Piece]]:
    """Return at most `limit` sequences, each with what it is held out by: as many from every part of the files."""
    count = sum(1 for _ in _rows(files))
    chosen = set(_even(range(count), limit))
    each = -(-limit // max(len(chosen), 1))
    pieces = [
        piece
        for number, row in enumerate(_rows(files))
        if number in chosen
        for piece in _even(_pieces(ppo.tokenizer, ppo.config, row), each)
    ]
    return list(_even(pieces, limit))


def _rows(files: list[Path]) -> Iterator[Row]:
    return (row for path in files for row in read_lines(path))


def _even(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most `most` of the items, at even distances."""
    return items if len(items) <= most else [items[i * len(items) // most] for i in range(most)]


def _hold_out(pieces: list[tuple[str, Piece]]) -> tuple[list[Piece], list[Piece]]:
    """Return (to learn from, to measure on), the latter a tenth at most, or one: by the hash of what they are held out
    by."""
    most = min(HELD_OUT, max(1, len(pieces) // 10))
    counts = Counter(name for name, _ in pieces)
    names: set[str] = set()
    for name in sorted(counts, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if counts[name] <= most:
            names, most = names | {name}, most - counts[name]
    names = names or {min(counts, key=lambda name: counts[name], default="")}
    return [p for name, p in pieces if name not in names], [p for name, p in pieces if name in names]


def _pieces(tokenizer: Any, config: PPOConfig, row: Row) -> list[tuple[str, Piece]]:
    """Return token ids of at most `ptx_max_tokens` together, from a text or from a prompt with its completion."""
    if "completion" in row:
        row = {**row, "prompt": _messages(row["prompt"])}
        head = loading.encode_prompt(tokenizer, row["prompt"], config.ptx_max_tokens)
        tail = loading.encode_completion(tokenizer, row["completion"], config.ptx_max_tokens)
        if not row.get("is_cut"):
            tail = [*tail, tokenizer.eos_token_id]
        tail = tail[: config.ptx_max_tokens]
        return [(kin_of(row), (head[-max(1, config.ptx_max_tokens - len(tail)) :], tail))] if tail else []
    ids = loading.encode_completion(tokenizer, row["text"], MOST * config.ptx_max_tokens)
    cut = [ids[start : start + config.ptx_max_tokens] for start in range(0, len(ids), config.ptx_max_tokens)]
    return [(str(piece), (piece[:1], piece[1:])) for piece in cut if len(piece) > 1]


def _messages(prompt: list[dict[str, str]] | str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
