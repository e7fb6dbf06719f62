"""Score given answers under a model: how surprising each is, and how open the model was at each of its tokens.

Each is read in one forward with its prompt, in the model's chat template. The answer's own tokens count, and the end
token where it ended by itself: to stop where the model would have gone on is a surprise, too. On a processor what
several answers begin with, a prompt or the template before it, is read once (`rl.packed`). Each batch is kept in the
run directory as it is done, so that a run that was killed goes on with the next.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evaluation.recipes.common import likelihood
from training.core.run_directory import Row, RunDirectory, drop_torn_line, read_lines
from training.recipes.common import branches, loading
from training.rl import products

ROWS = 128  # of logits at once: within a processor's last cache
_LEAST = torch.finfo(torch.float32).min  # in place of a logit of minus infinity: times a probability of 0 it is 0


@dataclass(frozen=True)
class Answer:
    """A text as it was given; `is_cut` where the limit of tokens ended it."""

    prompt: list[Row]
    text: str
    is_cut: bool


@dataclass(frozen=True)
class Score:
    """Sums over the `tokens` of one answer, in nats: of −log p, of the entropy of the model's distribution, and of
    −log p at the temperature that the answer was drawn at."""

    surprise: float
    entropy: float
    tokens: int
    surprise_as_drawn: float


@dataclass(frozen=True)
class Tokens:
    """Token ids with their place among the answers; those from `scored_from` on count."""

    place: int
    ids: list[int]
    scored_from: int


def score(
    run: RunDirectory, model: Any, tokenizer: Any, answers: Sequence[Answer], *, length: int, batch_size: int,
    temperature: float, phase: str, name: str,
) -> list[Score]:  # fmt: skip
    """Return each answer's score, in the order given; one without tokens has 0 of everything.

    length: tokens read at once; a longer prompt loses its beginning, a longer answer its end. temperature: of the
    draws, above 0. name: says which file of the run keeps what is done.
    """
    length = loading.context_length(model, length)
    end = end_token(model, tokenizer)
    sequences = [encode(tokenizer, answer, index, length, end) for index, answer in enumerate(answers)]
    method = method_of(model)
    tokens = likelihood.within_logits(model, likelihood.batch_tokens(batch_size, length), method)
    plan = list(batches([one for one in sequences if one.ids], tokens, shares=method == "packed"))
    scores_path = run.path / f"scores-{name}-{_digest(plan, temperature)}.jsonl"
    drop_torn_line(scores_path)
    done = list(read_lines(scores_path))
    run.progress(phase, len(done), len(plan))
    for batch in plan[len(done) :]:
        done.append({"scored": forward(model, batch, method, temperature)})
        with scores_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
        run.progress(phase, len(done), len(plan))
    scores = {index: Score(*sums) for row in done for index, *sums in row["scored"]}
    return [scores.get(index, Score(0.0, 0.0, 0, 0.0)) for index in range(len(answers))]


def encode(tokenizer: Any, answer: Answer, index: int, length: int, end: int) -> Tokens:
    """Return the prompt and the answer as the model meets them; no ids where there is nothing to score."""
    ends = [] if answer.is_cut else [end]
    ids = [*loading.encode_completion(tokenizer, answer.text, length), *ends][: length - 1]
    if not ids:
        return Tokens(index, [], 0)
    prompt = loading.encode_prompt(tokenizer, answer.prompt, length - len(ids))
    return Tokens(index, [*prompt, *ids], len(prompt))


def end_token(model: Any, tokenizer: Any) -> int:
    """Return the token by which a model ends its answers: of several that may, the one that its chat template writes
    after an assistant's turn."""
    ends = loading.eos_token_ids(model, tokenizer)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False) if len(ends) > 1 else []
    return next((token for token in reversed(list(rendered)) if token in ends), int(tokenizer.eos_token_id))


def method_of(model: Any) -> str:
    """Return how to read: `packed` without padding, shared beginnings once; `states` by the model's own layers, with
    logits for the tokens that count alone; else its own `logits`."""
    if likelihood.method_of(model) == "logits":
        return "logits"
    return "packed" if branches.packs(model) else "states"


def batches(sequences: list[Tokens], tokens: int, *, shares: bool) -> Iterator[list[Tokens]]:
    """Yield batches of at most `tokens`.

    `shares`: sequences that begin alike stand together, and are counted by what is new in each. Else the longest come
    first, so that want of memory shows at once, and padding counts.
    """
    yield from _sharing(sequences, tokens) if shares else _padded(sequences, tokens)


def _padded(sequences: list[Tokens], tokens: int) -> Iterator[list[Tokens]]:
    batch: list[Tokens] = []
    for one in sorted(sequences, key=lambda one: (-len(one.ids), one.place)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > tokens:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _sharing(sequences: list[Tokens], tokens: int) -> Iterator[list[Tokens]]:
    batch: list[Tokens] = []
    new, all_tokens = 0, 0
    for one in sorted(sequences, key=lambda one: (one.ids, one.place)):
        added = len(one.ids) - (_shared(batch[-1].ids, one.ids) if batch else 0)
        if batch and (new + added > tokens or all_tokens + len(one.ids) > likelihood.REPEATED * tokens):
            yield batch
            batch, new, all_tokens, added = [], 0, 0, len(one.ids)
        batch.append(one)
        new, all_tokens = new + added, all_tokens + len(one.ids)
    if batch:
        yield batch


def _shared(before: list[int], ids: list[int]) -> int:
    """Return how many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), min(len(before), len(ids)))


@torch.inference_mode()
def forward(
    model: Any, batch: list[Tokens], method: str, temperature: float
) -> list[tuple[int, float, float, int, float]]:
    """Return (place, sum of −log p, sum of entropies, tokens, sum of −log p at that temperature) of each sequence."""
    lengths = [len(one.ids) - one.scored_from for one in batch]
    targets = torch.tensor([t for one in batch for t in one.ids[one.scored_from :]], device=loading.device())
    if method == "logits":
        ids, places = _padded_ids(batch)
        values = of_logits(model(input_ids=ids, use_cache=False).logits[places], targets, temperature)
    else:
        states = _packed_states(model, batch) if method == "packed" else _own_states(model, batch)
        values = of_states(states, model.get_output_embeddings().weight, targets, temperature)
    sums = [[float(part.sum()) for part in one.cpu().double().split(lengths)] for one in values]
    return [
        (one.place, -logprob, entropy, n, -as_drawn)
        for one, n, logprob, entropy, as_drawn in zip(batch, lengths, *sums, strict=True)
    ]


def _padded_ids(batch: list[Tokens]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return ids (B, T), padded on the right, where nobody looks; and the rows and columns (N,) that foresee what
    counts: of each token the one before it."""
    device = loading.device()
    ids = torch.zeros(len(batch), max(len(one.ids) for one in batch), dtype=torch.long)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
    at = [(row, i - 1) for row, one in enumerate(batch) for i in range(one.scored_from, len(one.ids))]
    rows, columns = torch.tensor(at, device=device).unbind(1)
    return ids.to(device), (rows, columns)


def _own_states(model: Any, batch: list[Tokens]) -> Tensor:
    """Return the last states (N, H) that foresee what counts, by the model's own layers."""
    ids, places = _padded_ids(batch)
    states: Tensor = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return states[places]


def _packed_states(model: Any, batch: list[Tokens]) -> Tensor:
    """Return the same without padding, with what several begin with computed once."""
    texts = [one.ids[:-1] for one in batch]  # nothing follows the last token
    starts = list(itertools.accumulate((len(text) for text in texts), initial=0))
    at = [
        start + i - 1 for start, one in zip(starts, batch, strict=False) for i in range(one.scored_from, len(one.ids))
    ]
    return likelihood.states_at(model, texts, at)


def of_states(states: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `of_logits` does, of states (N, H) and the output layer's weight (V, H): some rows at a time, with
    the wanted logit in float32."""
    parts = []
    for part, part_targets in zip(states.to(weight.dtype).split(ROWS), targets.split(ROWS), strict=True):
        exact = (part.float() * weight[part_targets].float()).sum(-1)
        parts.append(_of_rows(products.logits(part, weight).float(), exact, temperature))
    return _joined(parts)


def of_logits(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-probability of each target, the entropy there, and the log-probability at that temperature: logits
    (N, V), targets (N,) -> 3 x (N,)."""
    parts = []
    for part, part_targets in zip(logits.split(ROWS), targets.split(ROWS), strict=True):
        wanted = part.gather(1, part_targets[:, None])[:, 0].float()
        parts.append(_of_rows(part.float().clamp(min=_LEAST), wanted, temperature))
    return _joined(parts)


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    logprobs, entropies, drawn = (torch.cat(values) for values in zip(*parts, strict=True))
    return logprobs, entropies, drawn


def _of_rows(logits: Tensor, wanted: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same of float32 logits (n, V) and the wanted ones (n,)."""
    normaliser = logits.logsumexp(-1)
    drawn = wanted - normaliser if temperature == 1 else wanted / temperature - (logits / temperature).logsumexp(-1)
    probabilities = (logits - normaliser[:, None]).exp_()
    entropies = normaliser - torch.linalg.vecdot(probabilities, logits)
    return wanted - normaliser, entropies, drawn


def _digest(plan: list[list[Tokens]], temperature: float) -> str:
    plan_json = json.dumps([[[one.place, one.scored_from, one.ids] for one in batch] for batch in plan])
    return hashlib.sha256(f"{loading.compute_dtype()} {temperature} {plan_json}".encode()).hexdigest()[:12]
