"""Score given answers under a model: how surprising each is, and how open the model was at each of its tokens.

Each is read in one forward with its prompt, in the model's chat template. The answer's own tokens count, and the end
token where it ended by itself: to stop where the model would have gone on is a surprise, too. Each batch is kept in the
run directory as it is done, so that a run that was killed goes on with the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evaluation.recipes.common import likelihood
from training.core.run_directory import Row, RunDirectory, read_lines
from training.recipes.common import loading
from training.rl.logprobs import token_logprobs


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
    length = likelihood.context_length(model, length)
    end = end_token(model, tokenizer)
    sequences = [encode(tokenizer, answer, index, length, end) for index, answer in enumerate(answers)]
    plan = list(batches([one for one in sequences if one.ids], likelihood.batch_tokens(batch_size, length)))
    scores_path = run.path / f"scores-{name}-{_digest(plan, temperature)}.jsonl"
    done = list(read_lines(scores_path))
    scores_path.write_text(
        "".join(json.dumps(row) + "\n" for row in done), encoding="utf-8"
    )  # without a torn last line
    uses_states = likelihood.method_of(model) != "logits"
    run.progress(phase, len(done), len(plan))
    for batch in plan[len(done) :]:
        done.append({"scored": forward(model, batch, uses_states, temperature)})
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


def batches(sequences: list[Tokens], tokens: int) -> Iterator[list[Tokens]]:
    """Yield batches, the longest first, so that want of memory shows at once; each padded to at most `tokens`."""
    batch: list[Tokens] = []
    for one in sorted(sequences, key=lambda one: (-len(one.ids), one.place)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > tokens:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@torch.inference_mode()
def forward(
    model: Any, batch: list[Tokens], uses_states: bool, temperature: float
) -> list[tuple[int, float, float, int, float]]:
    """Return (place, sum of −log p, sum of entropies, tokens, sum of −log p at that temperature) of each sequence."""
    longest, device = max(len(one.ids) for one in batch), loading.device()
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, one in enumerate(batch):  # padded on the right, where nobody looks
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
    # The position before a token foresees it.
    at = [row * longest + i - 1 for row, one in enumerate(batch) for i in range(one.scored_from, len(one.ids))]
    positions = torch.tensor(at, device=device)
    targets = torch.tensor([t for one in batch for t in one.ids[one.scored_from :]], device=device)
    ids = ids.to(device)
    if uses_states:
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)[positions]
        weight = model.get_output_embeddings().weight
        states = states.to(weight.dtype)
        logprobs, entropies = token_logprobs(states, weight, targets, entropies=True)
        drawn = logprobs if temperature == 1 else token_logprobs(states, weight, targets, temperature)[0]
    else:
        logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)[positions]
        logprobs, entropies = of_logits(logits, targets)
        drawn = logprobs if temperature == 1 else of_logits(logits / temperature, targets)[0]
    lengths = [len(one.ids) - one.scored_from for one in batch]
    parts = (values.cpu().double().split(lengths) for values in (logprobs, entropies, drawn))
    return [
        (one.place, -float(logprob.sum()), float(entropy.sum()), len(logprob), -float(as_drawn.sum()))
        for one, logprob, entropy, as_drawn in zip(batch, *parts, strict=True)
    ]


def of_logits(logits: Tensor, targets: Tensor, rows: int = 128) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each target and the entropy there: logits (N, V), targets (N,) -> 2 x (N,)."""
    logprobs, entropies = [], []
    for part, part_targets in zip(logits.split(rows), targets.split(rows), strict=True):
        logs = part.float().log_softmax(-1)
        logprobs.append(logs.gather(1, part_targets[:, None])[:, 0])
        entropies.append(torch.special.entr(logs.exp()).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


def _digest(plan: list[list[Tokens]], temperature: float) -> str:
    plan_json = json.dumps([[[one.place, one.scored_from, one.ids] for one in batch] for batch in plan])
    return hashlib.sha256(f"{loading.compute_dtype()} {temperature} {plan_json}".encode()).hexdigest()[:12]
