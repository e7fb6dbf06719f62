"""Tell abnormal texts of a domain: `python -m evaluation.recipes.surprise RUN_DIR`.

A model that was finetuned on a domain is surprised by what does not belong there. In: `data/validation.jsonl`,
documents of the domain that trained nothing, and perhaps `data/other/*.jsonl`, foreign ones.

1. Passages of one length are cut from both, for a short text's surprise varies more than a long one's; copies of the
   normal ones are spoilt in several ways (`spoiling`).
2. The score of a passage is its negative log-likelihood per byte, so that no tokenizer is favoured. Where the model
   that this one was made from is at hand, the difference of the two is a second score: what is rare everywhere (names,
   numbers) surprises both and tells nothing (likelihood ratios; Ren 2019, 1906.02845).
3. For each kind of abnormal passage: the area under the ROC curve against the normal ones, and the share that is caught
   by the threshold that 5 % of the normal ones exceed.

Left out: thresholds by kind of text; a classifier on top, which would need abnormal texts to learn from.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from common import atomic_files, roc_auc
from evaluation.recipes import corruptions
from evaluation.recipes.perplexity import Window
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, drop_torn_line, read_lines
from training.recipes.common import loading, steps
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.pretrain.tokenized_corpus import document_end

FEWEST = 10
SPAN = 8  # tokens of the span that is marked in a text
TOLD = 3  # passages shown of each group, and one of each kind of copy
BINS = 30
KEPT = "losses-{}.jsonl"  # of one model, named by a hash of its folder


@dataclass
class Group:
    """Passages of one sort. `origin` says of which normal passage each is a spoilt copy."""

    name: str
    texts: list[str]
    sources: list[str] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = config_of(spec)
    started_at = time.monotonic()
    run.progress("Cutting passages", 0, 1)
    groups = groups_of(run, spec)
    texts = list(dict.fromkeys(text for group in groups for text in group.texts))
    index_of = {text: i for i, text in enumerate(texts)}
    sizes = np.array([len(text.encode()) for text in texts], dtype=float)

    run.truncate_logs(sum(len(list(read_lines(file))) for file in run.path.glob(KEPT.format("*"))))
    losses, batches = token_losses(run, spec.parent, texts, config, "Reading the passages")
    scores = {"bits_per_byte": np.array([sum(row) for row in losses]) / sizes / math.log(2)}
    per_token = np.array([sum(row) / len(row) for row in losses])
    if config.compare and spec.ancestor:
        phase = "Reading the passages with the parent"
        earlier, _ = token_losses(run, spec.ancestor, texts, config, phase, first=batches)
        ancestor = np.array([sum(row) for row in earlier]) / sizes / math.log(2)
        scores["difference"] = scores["bits_per_byte"] - ancestor

    rows = {group.name: np.array([index_of[text] for text in group.texts]) for group in groups}
    write_examples(run, groups, rows, scores, losses, spec.parent)
    result = result_of(groups, rows, scores, per_token)
    signature = f"passages of {config.passage_bytes} bytes, n {len(groups[0].texts)}; {loading.compute_dtype()}"
    run.finish({**result, "signature": signature, "seconds": time.monotonic() - started_at})


def groups_of(run: RunDirectory, spec: RunSpec) -> list[Group]:
    """Return the groups: the normal one first, then foreign passages, then each kind of spoilt copy."""
    config = config_of(spec)

    def cut(rows: Any) -> list[corruptions.Passage]:
        return corruptions.passages(rows, config.passage_bytes, config.passages, spec.seed)

    normal = cut(run.rows("validation"))
    if len(normal) < FEWEST:
        raise RecipeFailure(
            "too_few_passages",
            f"The corpus holds out {len(normal)} passages of {config.passage_bytes} bytes; {FEWEST} are needed.",
            "Use shorter passages (config.passage_bytes), or a corpus with more held-out texts.",
        )
    foreign = cut(row for path in sorted((run.path / "data" / "other").glob("*.jsonl")) for row in read_lines(path))
    normal_texts = {p.text for p in normal}
    foreign = [p for p in foreign if p.text not in normal_texts]
    groups = [Group("normal", [p.text for p in normal], [p.source for p in normal])]
    if foreign:
        groups.append(Group("foreign", [p.text for p in foreign], [p.source for p in foreign]))
    if config.spoil:
        strangers = [p.text for p in foreign]
        copies_by_kind = corruptions.spoilt(normal, seed=spec.seed, share=config.swapped_letters, strangers=strangers)
        groups += [
            Group(kind, [t for _, t in rows], origin=[i for i, _ in rows])
            for kind, rows in copies_by_kind.items()
            if rows
        ]
    if len(groups) < 2:
        raise RecipeFailure(
            "nothing_abnormal",
            "There is nothing to compare the normal texts with.",
            "Choose a second corpus with foreign texts, or turn on corrupted copies (config.spoil).",
        )
    return groups


def token_losses(
    run: RunDirectory, folder: str, texts: list[str], config: Any, phase: str, first: int = 0
) -> tuple[list[list[float]], int]:
    """Return of each text the negative log-likelihood of each token, in nats; and how many batches that took.

    Each batch is kept as it is done, so that a run that was killed goes on with the next. Its figures, those of step
    `first` + 1 and so on, are logged before: a kill between the two leaves a line too many, which is dropped, and none
    too few.
    """
    model, tokenizer = loading.load_policy(folder)
    length = loading.context_length(model, config.max_length)
    windows = windows_of(tokenizer, texts, length)
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i].ids))
    losses_by_window: list[list[float]] = [[] for _ in windows]
    losses_path = run.path / KEPT.format(hashlib.sha256(folder.encode()).hexdigest()[:12])
    drop_torn_line(losses_path)
    done = list(read_lines(losses_path))
    pace, batches = steps.Pace(), math.ceil(len(order) / config.batch_size)
    for step in range(batches):
        indices = order[step * config.batch_size : (step + 1) * config.batch_size]
        batch = [windows[i] for i in indices]
        if step == len(done):
            done.append({"losses": _batch_losses(model, batch)})
            speed, peak = pace.tokens_per_second(sum(len(w.ids) for w in batch)), steps.peak_memory_gb(loading.device())
            run.log_metrics(first + step + 1, tokens_per_second=speed, peak_memory_gb=peak)
            with losses_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
            run.progress(phase, step + 1, batches)
        for i, row in zip(indices, done[step]["losses"], strict=True):
            losses_by_window[i] = row
    del model
    gc.collect()
    joined: list[list[float]] = [[] for _ in texts]
    for window, row in zip(windows, losses_by_window, strict=True):  # a text's windows stand in their order
        joined[window.text] += row
    return joined, batches


def windows_of(tokenizer: Any, texts: list[str], length: int) -> list[Window]:
    """Return windows that begin after the token that stands between documents, as in training on a domain; long texts
    in several forwards."""
    windows = []
    for i, text in enumerate(texts):
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise RecipeFailure(
                "empty_text", f"The passage {text!r:.80} has no tokens.", "Use another tokenizer's model."
            )
        stream = [document_end(tokenizer), *ids]
        windows += [Window(i, stream[at : at + length], 1) for at in range(0, len(ids), length - 1)]
    return windows


@torch.inference_mode()
def _batch_losses(model: Any, batch: list[Window]) -> list[list[float]]:
    # (B, T), padded on the right: causal, so never seen
    ids = pad_sequence([torch.tensor(window.ids) for window in batch], batch_first=True).to(loading.device())
    logits = model(input_ids=ids, use_cache=False).logits
    batch_losses = []
    for i, window in enumerate(batch):
        start, end = window.scored_from, len(window.ids)
        losses = torch.nn.functional.cross_entropy(
            logits[i, start - 1 : end - 1].float(), ids[i, start:end], reduction="none"
        )
        batch_losses.append(losses.tolist())
    return batch_losses


# What came of it


def result_of(
    groups: list[Group], rows: dict[str, np.ndarray], scores: dict[str, np.ndarray], per_token: np.ndarray
) -> Row:
    normal = rows["normal"]
    bounds = {score: roc_auc.threshold(values[normal]) for score, values in scores.items()}
    group_rows = [_of_group(group, rows, scores, bounds, per_token) for group in groups]
    metrics = {"normal_bits_per_byte": _mean(scores["bits_per_byte"][normal])}
    for group, group_row in zip(groups[1:], group_rows[1:], strict=True):
        for score in scores:
            by = "" if score == "bits_per_byte" else " by difference"
            metrics[f"AUC {group.name}{by}"] = group_row["scores"][score]["auc"]
    return {
        "metrics": metrics,
        "groups": group_rows,
        "histograms": [
            {"score": score, "bound": bounds[score], **_histogram(rows, values)} for score, values in scores.items()
        ],
        "verdict": _verdict(group_rows, scores),
        "compared": "difference" in scores,
    }


def _of_group(
    group: Group, rows: dict[str, np.ndarray], scores: dict[str, np.ndarray], bounds: dict[str, float], per_token: Any
) -> Row:
    group_places, normal = rows[group.name], rows["normal"]
    row: Row = {
        "name": group.name,
        "n": len(group_places),
        "nats_per_token": float(per_token[group_places].mean()),
        "scores": {},
    }
    for score, values in scores.items():
        score_row: Row = {"quantiles": [float(q) for q in np.quantile(values[group_places], [0.05, 0.5, 0.95])]}
        if group.name != "normal":
            score_row["auc"] = asdict(roc_auc.with_interval(values[normal], values[group_places]))
            score_row["caught"] = asdict(roc_auc.share_above(values[group_places], bounds[score]))
        if group.origin:  # a copy beside its own original: what the differences between texts cannot hide
            gain = values[group_places] - values[normal[np.array(group.origin)]]
            score_row["above_original"] = asdict(roc_auc.share_above(gain, 0.0))
        row["scores"][score] = score_row
    return row


def _mean(values: np.ndarray) -> Row:
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return {
        "value": mean,
        "standard_error": error,
        "lower": mean - 1.96 * error,
        "upper": mean + 1.96 * error,
        "n": len(values),
    }


def _histogram(rows: dict[str, np.ndarray], values: np.ndarray) -> Row:
    """Return counts of each group in the same bins; what lies beyond the last percent is counted in the outer bins."""
    everything = np.concatenate([values[group_places] for group_places in rows.values()])
    lower, upper = np.quantile(everything, [0.005, 0.995])
    edges = np.linspace(lower, max(upper, lower + 1e-6), BINS + 1)
    clipped = {name: np.clip(values[group_places], edges[0], edges[-1]) for name, group_places in rows.items()}
    counts = {name: np.histogram(clipped_values, edges)[0].tolist() for name, clipped_values in clipped.items()}
    return {"edges": [float(e) for e in edges], "counts": counts}


def _verdict(rows: list[Row], scores: dict[str, np.ndarray]) -> str:
    sentences = []
    for score, words in (("bits_per_byte", "By its surprise"), ("difference", "By the difference to its parent's")):
        areas = [(g["name"], g["scores"][score]["auc"]["value"]) for g in rows[1:] if score in scores]
        if areas:
            sentences.append(f"{words}: {', '.join(f'{name} {area:.2f}' for name, area in areas)}.")
    return f"Area under the ROC curve against normal passages (0.5 is chance). {' '.join(sentences)}"


def write_examples(
    run: RunDirectory,
    groups: list[Group],
    rows: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    losses: list[list[float]],
    folder: str,
) -> None:
    """Write the most surprising passages of each group, with their most surprising spans. For reviewers: they hold
    texts."""
    tokenizer = loading.load_tokenizer(folder)
    values = scores["bits_per_byte"]
    examples = []
    for group in groups:
        order = np.argsort(-values[rows[group.name]], kind="stable")[: 1 if group.origin else TOLD]
        for place in order:
            index = int(rows[group.name][place])
            text = group.texts[int(place)]
            start, end = span_of(tokenizer, text, losses[index])
            examples.append(
                {
                    "group": group.name,
                    "source": group.sources[int(place)] if group.sources else "",
                    "bits_per_byte": float(values[index]),
                    "difference": float(scores["difference"][index]) if "difference" in scores else None,
                    "before": text[:start],
                    "span": text[start:end],
                    "after": text[end:],
                }
            )
    atomic_files.write_text(run.path / "examples.json", json.dumps(examples, ensure_ascii=False))


def span_of(tokenizer: Any, text: str, losses: list[float]) -> tuple[int, int]:
    """Return where in `text` the SPAN tokens in a row begin and end whose mean surprise is highest."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    width = min(SPAN, len(losses))
    sums = np.convolve(losses, np.ones(width), mode="valid")
    first = int(sums.argmax())
    return int(offsets[first][0]), int(offsets[first + width - 1][1])


if __name__ == "__main__":
    run_recipe(main)
