"""Measure how well a model predicts given texts: perplexity per token, word and byte, and bits per byte.

In: `data/texts.jsonl`, {"id", "text", "prompt"?: [messages], "judge"?}, or a dataset in `data/other/`: a corpus (its
held-out texts, where it holds out any), rows {"text"} of a task, or demonstrations {"prompt", "completion"}. With a
prompt, the text is scored as the assistant's answer to it, in the model's chat template; without one, as running text
after the tokenizer's first token. Only the text's own tokens count, neither prompt nor end-of-turn token.

Long texts go in windows of `max_length`, as lm-evaluation-harness's rolling log-likelihood cuts them: each token is
foreseen once, and the last window reaches back to be full. An answer that does not fit in behind its prompt is scored
whole, and the prompt loses its beginning, which is said.

Texts are taken as they stand: wikitext's spaces around punctuation stay, and so do figures on it differ from those of
lm-evaluation-harness's task `wikitext`, which removes them before it asks and counts words and bytes as they were.

Left out: windows that overlap more, which lower the figure of long texts a little at several times the cost.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.recipes.common import likelihood
from evaluation.recipes.common.choice_items import unique_names
from evaluation.recipes.common.outcome import Item, Measured
from evaluation.recipes.common.token_trees import Pair
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, read_lines
from training.recipes.common import loading

MOST_SOURCES = 12  # more sources than these are names of documents rather than parts of a corpus
SHOWN = 2000  # characters of a text kept beside its figures


@dataclass(frozen=True)
class Window:
    """Token ids of one forward; those from `scored_from` on count."""

    text: int
    ids: list[int]
    scored_from: int


@dataclass(frozen=True)
class Text:
    id: str
    text: str
    prompt: list[dict[str, str]] | None = None
    group: str = ""

    @property
    def asked(self) -> str:
        return json.dumps([self.prompt, self.text], ensure_ascii=False) if self.prompt else self.text


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    texts, judge = texts_of(run, config.limit)
    run.progress("loading the model", 0, 1)
    model, tokenizer = likelihood.load(spec.parent)
    length = loading.context_length(model, config.max_length)
    windows, cut = all_windows(tokenizer, texts, length)
    pairs = [Pair(w.ids[: w.scored_from], w.ids[w.scored_from :]) for w in windows]
    room = likelihood.batch_tokens(config.batch_size, length)
    scored = likelihood.score(run, model, pairs, batch_tokens=room, phase="scoring texts", name="texts")
    losses, tokens = [0.0] * len(texts), [0] * len(texts)
    for window, pair, score in zip(windows, pairs, scored, strict=True):
        losses[window.text] -= score.log_likelihood
        tokens[window.text] += len(pair.continuation)
    items = [item_of(*parts) for parts in zip(texts, losses, tokens, cut, strict=True)]
    signature = f"assay perplexity 1; rolling windows of {length} tokens; {loading.compute_dtype()}"
    return Measured(_task(run, judge, config.texts), items, signature, notes=[*_of_its_own(run), *_notes(cut, length)])


# Texts


def texts_of(run: RunDirectory, limit: int) -> tuple[list[Text], str]:
    """Return at most `limit` texts, drawn by hash over all there are, and who chose them by judging, if anybody."""
    rows = run.rows("texts")
    if not rows:
        rows = heapq.nsmallest(limit, _of_dataset(run.path / "data" / "other"), key=_by_hash)
    if not rows:
        raise RecipeFailure(
            "no_texts",
            "There are no texts to score.",
            "Choose a corpus or a task of texts as the second dataset, or add a line to data/texts.jsonl.",
        )
    rows.sort(key=lambda row: row.get("place", 0))
    sources = {str(row.get("group") or row.get("source") or "") for row in rows}
    grouped = 1 < len(sources) <= MOST_SOURCES
    texts = [_text(row, number, grouped) for number, row in enumerate(rows, 1)]
    names = unique_names([text.id for text in texts])
    return [replace(t, id=name) for t, name in zip(texts, names, strict=True)], str(rows[0].get("judge") or "")


def _of_dataset(folder: Path) -> Iterator[Row]:
    held_out = sorted(folder.glob("validation*.jsonl"))
    for path in held_out or sorted(folder.glob("*.jsonl")):
        for index, row in enumerate(read_lines(path)):
            yield {**row, "place": [path.name, index]}


def _by_hash(row: Row) -> bytes:
    text_json = json.dumps([row.get("prompt"), row.get("text", row.get("completion"))], ensure_ascii=False)
    return hashlib.sha256(text_json.encode("utf-8", "surrogatepass")).digest()


def _text(row: Row, number: int, grouped: bool) -> Text:
    place = row.get("place")
    named = str(row.get("id", f"{place[0]}:{place[1] + 1}" if place else number))
    text = row.get("text", row.get("completion"))
    if not isinstance(text, str) or not text.strip():
        raise RecipeFailure("empty_text", f"The text {named} is empty.", "Leave empty texts out.")
    group = str(row.get("group") or row.get("source") or "") if grouped else ""
    return Text(named, text, row.get("prompt") or None, group)


# Windows


def all_windows(tokenizer: Any, texts: list[Text], length: int) -> tuple[list[Window], list[int]]:
    """Return the forwards that score the texts, and how many tokens each text's prompt has lost."""
    windows, cut = [], []
    for index, text in enumerate(texts):
        ids = list(tokenizer(text.text, add_special_tokens=False, verbose=False)["input_ids"])
        if not ids:
            raise RecipeFailure("empty_text", f"The text {text.id} has no tokens.", "Leave empty texts out.")
        context = loading.encode_prompt(tokenizer, text.prompt, 10**9) if text.prompt else [_first(tokenizer)]
        prompt_ids = context[-max(length + 1 - len(ids), length // 2, 1) :]
        cut.append(len(context) - len(prompt_ids))
        windows += [Window(index, *window) for window in rolling([*prompt_ids, *ids], len(prompt_ids), length)]
    return windows, cut


def _first(tokenizer: Any) -> int:
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def rolling(ids: list[int], n_known: int, length: int) -> Iterator[tuple[list[int], int]]:
    """Yield windows (ids, from where they count) that foresee each of `ids` after the `n_known` first ones once.

    A window reads `length` tokens and foresees one more; the last one reaches back as far as it may.
    """
    start, end = n_known, min(len(ids), length + 1)
    yield ids[:end], n_known
    while end < len(ids):
        start, end = end, min(len(ids), end + length)
        begin = max(0, end - length - 1)
        yield ids[begin:end], start - begin


# What is told


def item_of(text: Text, loss: float, tokens: int, cut: int) -> Item:
    size = len(text.text.encode("utf-8", "surrogatepass"))
    shown: Row = {"prompt": text.prompt} if text.prompt else {}
    shown |= {"text": text.text[:SHOWN], "loss per token": loss / tokens, "tokens": tokens}
    if len(text.text) > SHOWN:
        shown["characters"] = len(text.text)
    if cut:
        shown["tokens cut from the prompt"] = cut
    counts = {
        "perplexity": [loss, tokens],
        "word perplexity": [loss, words(text.text)],
        "byte perplexity": [loss, size],
        "bits per byte": [loss, size],
    }
    return Item(text.id, text.asked, counts, shown, text.group, searched=(text.text,))


def words(text: str) -> int:
    """Return the pieces between runs of white space, as lm-evaluation-harness counts them."""
    return len(re.split(r"\s+", text))


def _task(run: RunDirectory, judge: str, chosen: str) -> str:
    if not run.rows("texts"):
        return "texts of a dataset"
    named = "answers of the first ancestor" if chosen == "first" else "preferred answers"
    return f"{named} by {judge}" if judge else named


def _of_its_own(run: RunDirectory) -> list[str]:
    """Note how many texts are the model's own family's: it foresees them better than a stranger's, and whoever reads
    the figure must know."""
    rows = run.rows("texts")
    n_own = sum(bool(row.get("by_family")) for row in rows)
    if not n_own:
        return []
    return [
        f"{n_own} of {len(rows)} answers are from this model or others of its lineage, which predict them "
        "better than other models: compare only within its lineage, or measure on a dataset."
    ]


def _notes(cut: list[int], length: int) -> list[str]:
    if not any(cut):
        return []
    return [
        f"{sum(map(bool, cut))} of {len(cut)} prompts did not fit into {length} tokens with their answers and lost "
        f"their beginning, at most {max(cut)} tokens; the answers were scored completely."
    ]
