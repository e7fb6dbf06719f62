"""How surprised a model is by given texts: perplexity per token, word and byte, and bits per byte.

    python -m evaluation.recipes.perplexity RUN_DIR

In: `data/texts.jsonl`, {"id", "text", "prompt"?: [messages], "judge"?}. With a prompt, the text is scored as the
assistant's answer to it, in the model's chat template; without one, as running text after the tokenizer's first token,
in windows that see the last token of the one before (lm-evaluation-harness's rolling log-likelihood). Only the text's
own tokens count, neither prompt nor end-of-turn token.

Out: `result.json` with `metrics` by name (value, standard_error, lower, upper, n) over the whole corpus, and `texts`,
each text's own summed loss and tokens, so that two models can be compared text by text.

Left out: sliding windows with more context, which lower the figure of long texts a little at several times the cost.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.perplexity import measures
from training.recipes import loading
from training.recipes.entry import config_of, run_recipe
from training.run_directory import RecipeFailure, Row, RunDirectory, RunSpec


@dataclass(frozen=True)
class Window:
    """Token ids of one forward; the loss counts from `scored_from` on."""

    text: int
    ids: list[int]
    scored_from: int


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = config_of(spec)
    rows = run.rows("texts")
    if len(rows) < 2:
        raise RecipeFailure(
            "no_texts", f"There are {len(rows)} texts to score.", "Give data/texts.jsonl at least two lines."
        )
    run.truncate_logs(-1)  # it is over soon: what was killed begins anew
    run.progress("loading the model", 0, 1)
    model, tokenizer = loading.load_policy(spec.parent)
    length = min(config.max_length, getattr(model.config, "max_position_embeddings", config.max_length))
    windows = [w for index, row in enumerate(rows) for w in windows_of(tokenizer, row, index, length)]
    # By length: a batch is padded to its longest, and long ones first shows at once whether the memory is enough.
    windows.sort(key=lambda w: -len(w.ids))
    losses, tokens = np.zeros(len(rows)), np.zeros(len(rows))
    batches = math.ceil(len(windows) / config.batch_size)
    for step in range(1, batches + 1):
        batch = windows[(step - 1) * config.batch_size : step * config.batch_size]
        for window, loss in zip(batch, batch_losses(model, batch), strict=True):
            losses[window.text] += loss
            tokens[window.text] += len(window.ids) - window.scored_from
        run.log_metrics(step, loss_per_token=losses.sum() / tokens.sum())
        run.progress("scoring texts", step, batches)
    run.finish(result_of(rows, losses, tokens, spec, config.max_length))


def windows_of(tokenizer: Any, row: Row, index: int, length: int) -> list[Window]:
    """The forwards that score a text: one after its prompt, or as many as running text needs."""
    text = row["text"]
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise RecipeFailure("empty_text", f"The text {row['id']} has no tokens.", "Leave empty texts out.")
    if row.get("prompt"):
        # At least half of the window is for the answer; the prompt keeps its last tokens.
        ids = ids[: length - 1]
        context = loading.encode_prompt(tokenizer, row["prompt"], max(1, length - len(ids)))
        return [Window(index, context + ids, len(context))]
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    stream, step = [first, *ids], length - 1
    return [Window(index, stream[at : at + step + 1], 1) for at in range(0, len(ids), step)]


@torch.inference_mode()
def batch_losses(model: Any, batch: list[Window]) -> list[float]:
    """Each window's summed negative log-likelihood in nats, float32 from the logits on."""
    longest = max(len(w.ids) for w in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)  # (B, T), padded on the right: causal, so never seen
    for i, window in enumerate(batch):
        ids[i, : len(window.ids)] = torch.tensor(window.ids)
    ids = ids.to(loading.device())
    lengths = torch.tensor([len(w.ids) for w in batch], device=ids.device)
    mask = torch.arange(longest, device=ids.device) < lengths[:, None]
    logits = model(input_ids=ids, attention_mask=mask.long()).logits
    return [_loss(logits[i], ids[i], window) for i, window in enumerate(batch)]


def _loss(logits: Tensor, ids: Tensor, window: Window) -> float:
    start, end = window.scored_from, len(window.ids)
    return float(
        torch.nn.functional.cross_entropy(logits[start - 1 : end - 1].float(), ids[start:end], reduction="sum")
    )


def result_of(rows: list[Row], losses: np.ndarray, tokens: np.ndarray, spec: RunSpec, max_length: int) -> Row:
    corpus = json.dumps([[row.get("prompt"), row["text"]] for row in rows], ensure_ascii=False)
    texts_hash = hashlib.sha256(corpus.encode()).hexdigest()
    of = f"texts {spec.config.get('texts', 'given')} {texts_hash[:12]}"
    if judge := rows[0].get("judge"):  # whose preference: people's and simulations' figures are two figures
        of += f" by {judge}"
    return {
        "metrics": {m.metric: dataclasses.asdict(m) for m in measures(losses, tokens, [row["text"] for row in rows])},
        "texts_hash": texts_hash,
        "signature": f"{of}; n {len(rows)}; max_length {max_length}; {loading.compute_dtype()}",
        "texts": [
            {"id": row["id"], "loss": float(loss), "tokens": int(n)}
            for row, loss, n in zip(rows, losses, tokens, strict=True)
        ],
    }


if __name__ == "__main__":
    run_recipe(main)
