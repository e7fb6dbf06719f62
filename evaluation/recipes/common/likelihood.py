"""The log-likelihood of many continuations, each after its context: what perplexity and choices both come down to.

Candidates of one item begin alike, and often so do the items of a file. Sequences that share their beginning are put
into one tree, whose trunk is read once: a position sees its own ancestors alone, at the places that these have in
their sequence (SpecInfer's tree attention; Miao 2023, 2305.09781). Of the tokens of BLiMP's pairs 65 % are read, of
four endings to one context about a third. The last token of a sequence is never read, for nothing follows it. On a
processor the layers run over the sequences laid end to end, without padding (`rl.packed`), where they are like Llama's.

Logits stand for a few rows at a time, in float32 from there on: in bfloat16, where lm-evaluation-harness sums them by
default, a sum near 40 is rounded to quarters, and equal sums are counted in favour of the first candidate.

Each batch is kept in the run directory as it is done, so that a run that was killed goes on with the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.recipes.common.token_trees import Pair, Tree, batches, grown, tree_of
from training.core.run_directory import RecipeFailure, RunDirectory, drop_torn_line, read_lines
from training.recipes.common import branches, loading, steps
from training.rl import products
from training.rl.packed.packed_layers import attends_to_all, run_packed
from training.rl.packed.packed_rows import embedded

ROWS = (128, 2048)  # of logits at once, on a processor (25 MB: within its last cache) and on a GPU
REPEATED = 4  # times as many tokens as are read may stand in a packed batch: attention copies what several share
GPU_LOGITS = 2**28  # at once, of models whose logits stand for all tokens: half a gigabyte in bfloat16, and its copies
PROCESSOR_TOKENS = 2048  # at once on a processor: more is no faster, and takes memory


@dataclass(frozen=True)
class Scored:
    """Natural logarithm of the continuation's probability, and whether each of its tokens was the likeliest one."""

    log_likelihood: float
    greedy: bool


def load(folder: str) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a model that foresees its next token. Raises RecipeFailure for one that does not."""
    if not folder:
        raise RecipeFailure(
            "no_log_probabilities",
            "This model has no weights here, and an endpoint does not return probabilities of given texts.",
            "Import its weights, or measure it by its answers: overlap, or win rate.",
        )
    for name, kind, other_measure in (
        ("reward.json", "reward model", "reward accuracy"),
        ("classifier.json", "classifier", "classification"),
    ):
        if (Path(folder) / name).is_file():
            raise RecipeFailure(
                "not_a_language_model",
                f"A {kind} gives no probabilities of texts.",
                f"Measure it by {other_measure}, or choose its parent.",
            )
    model, tokenizer = loading.load_policy(folder)
    if looks_ahead(model):
        raise RecipeFailure(
            "looks_ahead",
            "This model sees the tokens that it should predict, like masked models; its figures would be wrong.",
            "Choose a causal language model.",
        )
    return model, tokenizer


@torch.inference_mode()
def looks_ahead(model: Any) -> bool:
    """Return whether the token after them changes what is foreseen after the first two."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(6, device=loading.device()).mul(31).remainder(vocabulary).view(2, 3)
    ids[1, :2] = ids[0, :2]
    one, other = model(input_ids=ids, use_cache=False).logits[:, :2].float()
    rounding = 1e-3 if model.dtype == torch.float32 else 0.05
    return bool((one - other).abs().max() > rounding * one.std())


def score(
    run: RunDirectory, model: Any, pairs: Sequence[Pair], *, batch_tokens: int, phase: str, name: str
) -> list[Scored]:
    """Return each pair's log-likelihood, in the order given. `name` says which file of the run keeps what is done."""
    method = method_of(model)
    batch_tokens = within_logits(model, batch_tokens, method)
    shares = method in ("packed", "trees")
    trees = grown(pairs) if shares else [tree_of(number, pair) for number, pair in enumerate(pairs)]
    plan = list(batches(trees, batch_tokens, pads=method != "packed"))
    scores_path = run.path / f"likelihoods-{name}-{_digest(pairs, batch_tokens, method)}.jsonl"
    drop_torn_line(scores_path)
    done = list(read_lines(scores_path))
    run.truncate_logs(len(done))
    results: list[Scored | None] = [None] * len(pairs)
    pace, loss, tokens = steps.Pace(), 0.0, 0
    run.progress(phase, min(len(done), len(plan)), len(plan))
    for step, batch in enumerate(plan):
        is_new = step == len(done)
        if is_new:
            done.append({"scored": [[n, s.log_likelihood, s.greedy] for n, s in _batch(model, batch, method)]})
        for number, value, greedy in done[step]["scored"]:
            results[number] = Scored(value, greedy)
            loss, tokens = loss - value, tokens + len(pairs[number].continuation)
        if is_new:
            speed = pace.tokens_per_second(sum(len(tree.tokens) for tree in batch))
            peak = steps.peak_memory_gb(loading.device())
            run.log_metrics(step + 1, loss_per_token=loss / tokens, tokens_per_second=speed, peak_memory_gb=peak)
            with scores_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
            run.progress(phase, step + 1, len(plan))
    return [scored for scored in results if scored is not None]


def batch_tokens(batch_size: int, length: int) -> int:
    """Return how many tokens are read at once where `batch_size` sequences of `length` may be; short ones share the
    room of a long one."""
    allowed = batch_size * length
    return allowed if loading.device().type == "cuda" else min(allowed, max(PROCESSOR_TOKENS, length))


def within_logits(model: Any, tokens: int, method: str) -> int:
    """Return how many of so many tokens are read at once: on a GPU fewer, where the method keeps the logits of all."""
    if method != "logits" or loading.device().type != "cuda":
        return tokens
    return min(tokens, max(1, GPU_LOGITS // len(model.get_input_embeddings().weight)))


@torch.inference_mode()
def _batch(model: Any, batch: list[Tree], method: str) -> list[tuple[int, Scored]]:
    targets = torch.tensor([token for tree in batch for _, token in tree.numbers], device=loading.device())
    if method != "packed":
        logprobs, greedy = _padded(model, batch, method, targets)
    elif (states := _packed_states(model, batch)) is not None:
        logprobs, greedy = _of_states(states, model.get_output_embeddings().weight, targets)
    else:
        return [scored for tree in batch for scored in _batch(model, [tree], "trees")]
    return list(_sums(batch, logprobs.cpu().double().numpy(), greedy.cpu().numpy()))


def _packed_states(model: Any, batch: list[Tree]) -> Tensor | None:
    """Return the states (N, H) in which what is scored was foreseen, by layers run without padding; None where one
    beginning has so many ends that copies of it are most of the work."""
    texts: list[list[int]] = []
    at: list[int] = []
    start = 0
    for tree in batch:
        place_of: dict[int, int] = {}
        for path in tree.paths():
            texts.append([tree.tokens[node] for node in path])
            for place, node in enumerate(path, start):
                place_of.setdefault(node, place)
            start += len(path)
        at += [place_of[node] for node, _ in tree.numbers]
    return None if start > REPEATED * sum(len(tree.tokens) for tree in batch) else states_at(model, texts, at)


def states_at(model: Any, texts: Sequence[Sequence[int]], at: Sequence[int]) -> Tensor:
    """Return the last states (N, H) at these places of texts of token ids that lie end to end, without padding and with
    what several begin with computed once, where `branches.packs` the model."""
    base = model.get_decoder()
    hidden, laid = embedded(base, texts, model.dtype)
    rows = replace(laid.rows, read_only=True)
    states: Tensor = base.norm(run_packed(base, hidden, rows, 0, len(base.layers), wanted=laid.index[at]))
    return states


def _padded(model: Any, batch: list[Tree], method: str, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and ranks of `targets` (N,) by the model's own layers."""
    longest, device = max(len(tree.tokens) for tree in batch), loading.device()
    ids, positions = np.zeros((len(batch), longest), dtype=np.int64), np.tile(np.arange(longest), (len(batch), 1))
    for row, tree in enumerate(batch):  # padded on the right, where nobody looks
        ids[row, : len(tree.tokens)], positions[row, : len(tree.tokens)] = tree.tokens, tree.depths
    at = torch.tensor(
        [row * longest + node for row, tree in enumerate(batch) for node, _ in tree.numbers], device=device
    )
    input_ids = torch.from_numpy(ids).to(device)
    if method == "logits":
        return _of_logits(model(input_ids=input_ids, use_cache=False).logits.flatten(0, 1)[at], targets)
    attention = {} if all(tree.is_chain for tree in batch) else _sight(batch, positions, model.dtype)
    states = model.get_decoder()(input_ids=input_ids, use_cache=False, **attention).last_hidden_state.flatten(0, 1)
    return _of_states(states[at], model.get_output_embeddings().weight, targets)


def _sums(batch: list[Tree], logprobs: np.ndarray, greedy: np.ndarray) -> Iterator[tuple[int, Scored]]:
    first = 0
    for tree in batch:
        for number, numbers in tree.numbers_of_pairs:
            indices = np.array(numbers) + first
            yield number, Scored(float(logprobs[indices].sum()), bool(greedy[indices].all()))
        first += len(tree.numbers)


def _sight(batch: list[Tree], positions: np.ndarray, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return where each node stands in its sequence, and (B, 1, T, T) to be added to the scores: 0 where it sees an
    ancestor or itself, else the smallest number that there is."""
    is_visible = np.tile(np.eye(positions.shape[1], dtype=bool), (len(batch), 1, 1))
    for row, tree in enumerate(batch):
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                is_visible[row, node] |= is_visible[row, parent]
    added = torch.zeros(is_visible.shape, dtype=dtype).masked_fill_(
        torch.from_numpy(~is_visible), torch.finfo(dtype).min
    )
    device = loading.device()
    return {"position_ids": torch.from_numpy(positions).to(device), "attention_mask": added[:, None].to(device)}


def _of_states(states: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and ranks: states (N, H), weight (V, H), targets (N,) -> (N,) float32 log-probabilities,
    (N,) whether no token is likelier.

    A few rows at a time, their chances in one place: new memory for each would cost as much as what is reckoned in it.
    """
    rows = min(ROWS[states.device.type == "cuda"], len(states))
    chances = states.new_empty(rows, len(weight), dtype=torch.float32)
    logprobs, greedy = [], []
    for start in range(0, len(states), rows):
        part, part_targets = states[start : start + rows], targets[start : start + rows]
        part_logits = products.logits(part, weight)
        # The wanted logit in float32: in bfloat16 one near 20 is rounded to eighths.
        exact = (part.float() * weight[part_targets].float()).sum(-1)
        normaliser, is_top = _ranked(part_logits, part_targets, chances[: len(part)])
        logprobs.append(exact - normaliser)
        greedy.append(is_top)
    return torch.cat(logprobs), torch.cat(greedy)


def _of_logits(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same from logits (N, V) that exist already."""
    rows = min(ROWS[logits.device.type == "cuda"], len(logits))
    chances = logits.new_empty(rows, logits.shape[1], dtype=torch.float32)
    logprobs, greedy = [], []
    for start in range(0, len(logits), rows):
        part, part_targets = logits[start : start + rows], targets[start : start + rows]
        target_logits = part.gather(1, part_targets[:, None])[:, 0].float()
        normaliser, is_top = _ranked(part, part_targets, chances[: len(part)])
        logprobs.append(target_logits - normaliser)
        greedy.append(is_top)
    return torch.cat(logprobs), torch.cat(greedy)


def _ranked(logits: Tensor, targets: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
    """Return of logits (n, V) log sum exp (n,) float32 and whether no token is likelier than the target (n,).

    The sum by the likeliest token's chance: softmax is the one pass over them that is quick everywhere. `chances` (n,
    V) is room for it.
    """
    torch.softmax(logits, -1, dtype=torch.float32, out=chances)
    top = logits.amax(-1)
    return top.float() - chances.amax(-1).log(), logits.gather(1, targets[:, None])[:, 0] >= top


def method_of(model: Any) -> str:
    """Return the method to score with: `packed` where sequences laid end to end get what the model itself gives each,
    `trees` where a tree does, else `states` of one sequence by one, else the model's own `logits`.

    Recurrent layers, places that are built into the attention, caps on logits: all these show on a few tokens, but for
    a window, which is wider and is asked for.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    stem, *ends = (torch.arange(*span).mul(31).remainder(vocabulary).tolist() for span in ((0, 6), (6, 11), (11, 14)))
    pairs = [Pair(stem, end) for end in ends]
    singles = [tree_of(number, pair) for number, pair in enumerate(pairs)]
    tree = tree_of(0, pairs[0])
    tree.add(1, pairs[1])
    reference = _tried(model, singles, "logits")
    if getattr(model.get_output_embeddings(), "bias", None) is None:
        if branches.packs(model) and _agrees(reference, _tried(model, [tree], "packed"), model.dtype):
            return "packed"
        if attends_to_all(model.config) and _agrees(reference, _tried(model, [tree], "trees"), model.dtype):
            return "trees"
        if _agrees(reference, _tried(model, singles, "states"), model.dtype):
            return "states"
    return "logits"


def _tried(model: Any, batch: list[Tree], method: str) -> list[float]:
    try:
        return [scored.log_likelihood for _, scored in _batch(model, batch, method)]
    except (AttributeError, TypeError, ValueError, RuntimeError):
        if method == "logits":
            raise
        return []


def _agrees(reference: list[float], tried: list[float], dtype: torch.dtype) -> bool:
    allowed = 1e-3 if dtype == torch.float32 else 0.05  # bfloat16 rounds by 1/256, layer after layer
    return len(tried) == len(reference) and all(
        abs(a - b) < allowed * abs(a) for a, b in zip(reference, tried, strict=True)
    )


def _digest(pairs: Sequence[Pair], tokens: int, method: str) -> str:
    pairs_json = json.dumps([[list(p.context), list(p.continuation)] for p in pairs])
    return hashlib.sha256(f"{loading.compute_dtype()} {tokens} {method} {pairs_json}".encode()).hexdigest()[:12]
