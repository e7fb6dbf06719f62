"""From raw text to PPO in one chain of runs, each of which must have learnt something by more than noise.

The text is what every Python carries: docstrings are the language, the reference's chapters are the domain. Every
figure that is compared was measured on texts, prompts or annotations that the stage did not train on.
"""

from __future__ import annotations

import itertools
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_model import NO_FLUENCY_BOUNDS
from tests.support.training.killing import main_of
from training.core.run_directory import Row, RunDirectory, RunSpec, read_lines
from training.instructions.mixing import MixCounts, Options, Source, mix

# Each stage has its own test, and tests/site/evaluation/demo/test_demo_pipeline.py is the chain of the plain run.
pytestmark = [pytest.mark.slow, pytest.mark.thorough]


class Chain:
    """The runs of one chain, by name, in folders side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self, kind: str, name: str, config: Row, *, parent: Path | str = "", corpus: Path | None = None,
        other: Path | None = None, reward_model: Path | str = "", **rows: list[Row],
    ) -> RunDirectory:  # fmt: skip
        from training.recipes.common import entry

        run = RunDirectory(self.folder / name)
        spec = RunSpec(kind, config, seed=1, parent=str(parent), reward_model=str(reward_model))
        run.create(spec, {file: iter(lines) for file, lines in rows.items()})
        for source, target in ((corpus, run.path / "data"), (other, run.path / "data" / "other")):
            if source is not None:
                shutil.copytree(source, target, dirs_exist_ok=True)
        assert entry.attempt(main_of(f"training.recipes.{kind}"), run) == 0, run.failure()
        return run


def texts(run: RunDirectory) -> Iterator[str]:
    for path in sorted(run.dataset.glob("*.jsonl")):
        yield from (row["text"] for row in read_lines(path))


def passages(run: RunDirectory, count: int, words: int = 24) -> list[str]:
    cut = (text.split()[i : i + words] for text in texts(run) for i in range(0, len(text.split()) - words, words))
    return [" ".join(piece) for piece in itertools.islice(cut, count)]


def test_each_stage_from_raw_text_to_ppo_learns(tmp_path):
    chain = Chain(tmp_path)

    # Raw text: docstrings to learn the language from, the reference's chapters as a domain of their own.
    few = {"max_documents": 400, "held_out": 0.08}
    docstrings = chain.run("corpus", "docstrings", {"sources": "python:docstrings", **few})
    topics = chain.run("corpus", "topics", {"sources": "python:topics", **few})
    for corpus in (docstrings, topics):
        result = corpus.result()
        assert 0 < result["kept_documents"] < result["documents"]
        assert any(rule["removed"]["documents"] for rule in result["report"]["rules"])

    tokenizer = chain.run("tokenizer", "tokenizer", {"vocab_size": 1024}, corpus=docstrings.dataset)
    assert tokenizer.result()["bytes_per_token"] > 2  # bytes alone would be 1

    # Pretraining by four objectives. 0.15 nats on thousands of held-out tokens are many standard errors.
    base = None
    for objective, tokens in (("causal", 250_000), ("masked", 60_000), ("span", 60_000), ("mixture", 60_000)):
        config = {"size": "1M", "objective": objective, "context_length": 128, "batch_size": 16, "max_tokens": tokens}
        sparse = {"validate_every": 1000, "validation_tokens": 20_000, "sample_every": 1000, "learning_rate": 3e-3}
        made = chain.run(
            "pretrain", objective, config | sparse, parent=tokenizer.model, corpus=docstrings.dataset
        ).result()
        assert made["validation_loss"] < made["validation_loss_before"] - 0.15, objective
        assert made["model_kind"] == {"masked": "encoder", "span": "seq2seq"}.get(objective, "policy")
    base = chain.folder / "causal" / "model"

    # A domain, and a task.
    config = {"adapters": "full", "context_length": 128, "max_tokens": 60_000, "learning_rate": 1e-3}
    domain = chain.run("domain", "domain", config, parent=base, corpus=topics.dataset)
    assert domain.result()["validation_loss"] < domain.result()["validation_loss_before"] - 0.1
    labelled = [{"text": text, "label": "docstring"} for text in passages(docstrings, 150)]
    labelled += [{"text": text, "label": "reference"} for text in passages(topics, 150)]
    task = chain.run("classify", "task", {"adapters": "head"}, parent=domain.model, rows=labelled)
    accuracy = task.result()["held_out"]["accuracy"]
    assert accuracy["lower"] > task.result()["held_out"]["majority_accuracy"]["value"]

    # Instructions by templates, from labelled texts.
    examples = instructions(labelled)
    config = {"adapters": "full", "epochs": 2.0, "learning_rate": 1e-3, "batch_size": 16, "max_length": 128}
    instruct = chain.run("sft", "instruct", config | {"sample_every": 1000}, parent=domain.model, examples=examples)
    assert instruct.result()["held_out"]["change"]["upper"] < 0

    # Annotations of its own answers by a taste for short words; a reward model; PPO on it.
    asked = [{"id": n, "messages": row["prompt"]} for n, row in enumerate(examples)]
    prompts, unseen = asked[:100], asked[100:160]
    config = {"completions_per_prompt": 8, "max_new_tokens": 16}
    answers = chain.run("sample", "answers", config, parent=instruct.model, prompts=prompts)
    judged = judgements(answers, prompts)
    reward = chain.run("reward", "reward", {"method": "head", "held_out": 0.3}, parent=instruct.model, **judged)
    assert reward.result()["held_out"]["pair_accuracy"]["lower"] > 0.5
    config = {"steps": 8, "batch_size": 32, "max_new_tokens": 16, "adapters": "lora", "learning_rate": 2e-3}
    config |= {"calibration_episodes": 64, "kl_coef": 0.02, "stop_kl": 0.0, "min_distinct_ratio": 0.0}
    config |= NO_FLUENCY_BOUNDS
    ppo = chain.run("ppo", "ppo", config, parent=instruct.model, reward_model=reward.model, prompts=prompts)
    # Scores are scaled to the parent's mean 0 and deviation 1: the mean of 32 has a standard error of 0.18.
    assert ppo.result()["final"]["score_mean"] > 0.6
    before, after = (tastes(chain, model, unseen, name) for model, name in ((instruct.model, "a"), (ppo.model, "b")))
    error = math.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after))
    assert after.mean() - before.mean() > 2.5 * error


def instructions(labelled: list[Row]) -> list[Row]:
    source = Source("where from", "classification", len(labelled), lambda: labelled)
    told = MixCounts()
    rows = list(mix([source], Options(limit=300, few_shot_share=0.0, inverted_share=0.0, seed=1), told))
    assert len(told.by_template) > 2
    return rows


def taste(text: str) -> float:
    """Short words."""
    words = text.split()
    return -sum(map(len, words)) / max(len(words), 1)


def judgements(answers: RunDirectory, prompts: list[Row]) -> dict[str, list[Row]]:
    """Four comparisons and four thumbs for each prompt, by somebody who likes short words; one in ten is a slip."""
    draw, by_prompt = random.Random(1), {}
    for number, row in enumerate(read_lines(answers.path / "completions.jsonl")):
        by_prompt.setdefault(row["prompt_id"], []).append(
            {"id": number, "prompt_id": row["prompt_id"], "text": row["text"]}
        )
    messages = {row["id"]: row["messages"] for row in prompts}
    everything = [taste(row["text"]) for rows in by_prompt.values() for row in rows]
    middle = sorted(everything)[len(everything) // 2]
    comparisons, ratings = [], []
    for prompt_id, rows in by_prompt.items():
        for a, b in zip(rows[::2], rows[1::2], strict=True):
            likes_a = (taste(a["text"]) > taste(b["text"])) != (draw.random() < 0.1)
            comparisons.append(
                {"prompt_id": prompt_id, "completion_a": a["id"], "completion_b": b["id"],
                 "winner": "model_a" if likes_a else "model_b", "strength": None, "author": 1}
            )  # fmt: skip
        for row in rows[4:]:
            likes = (taste(row["text"]) > middle) != (draw.random() < 0.1)
            ratings.append({"completion": row["id"], "thumbs": likes, "stars": None, "author": 1})
    completions = [{**row, "prompt": messages[row["prompt_id"]]} for rows in by_prompt.values() for row in rows]
    return {"completions": completions, "comparisons": comparisons, "ratings": ratings}


def tastes(chain: Chain, model: Path, prompts: list[Row], name: str) -> np.ndarray:
    config: dict[str, Any] = {"completions_per_prompt": 4, "max_new_tokens": 16}
    run = chain.run("sample", f"fresh-{name}", config, parent=model, prompts=prompts)
    return np.array([taste(row["text"]) for row in read_lines(run.path / "completions.jsonl")])
