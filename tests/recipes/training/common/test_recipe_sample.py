import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tests.support import tiny_model
from training.core import batch_planner
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import sample
from training.recipes.best_of import bulk_sampling
from training.recipes.common import entry
from training.rl.decode import LlamaDecoder

CONFIG = {"completions_per_prompt": 3, "max_new_tokens": 12, "batch_size": 4}
PROMPTS = [{"id": 10 + i, "messages": [{"role": "user", "content": "say " * (i + 1)}]} for i in range(4)]


def _run(path: Path, model: Path, prompts=PROMPTS, **config: object) -> RunDirectory:
    run = RunDirectory(path)
    run.create(RunSpec("sample", {**CONFIG, **config}, seed=5, parent=str(model)), {"prompts": iter(prompts)})
    return run


def _rows(run: RunDirectory) -> list[dict]:
    rows = [{k: v for k, v in row.items() if k != "sequence"} for row in read_lines(run.path / "completions.jsonl")]
    return sorted(rows, key=lambda row: (row["prompt_id"], row["index"]))


def test_every_prompt_gets_its_completions_with_seed_and_settings(tmp_path: Path, model: Path):
    run = _run(tmp_path, model)
    assert entry.attempt(sample.main, run) == 0
    rows = _rows(run)
    assert [(r["prompt_id"], r["index"]) for r in rows] == [(p, i) for p in range(10, 14) for i in range(3)]
    assert len({r["seed"] for r in rows}) == 12 and len({r["text"] for r in rows}) > 6
    assert all(r["sampling"] == {"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 12} for r in rows)
    assert all(1 <= r["tokens"] <= 12 and r["finish_reason"] in ("stop", "length") for r in rows)
    assert run.result()["completions"] == 12
    assert run.current_progress()["step"] == 12


def test_cut_off_in_mid_portion_it_writes_what_it_would_have_written(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk_sampling, "PORTION", 1)
    whole, cut = _run(tmp_path / "whole", model), _run(tmp_path / "cut", model)
    entry.attempt(sample.main, whole)
    lines = (whole.path / "completions.jsonl").read_text().splitlines(keepends=True)
    (cut.path / "completions.jsonl").write_text("".join(lines[:6]) + lines[6][:20])
    sampled = []
    original = bulk_sampling.sample
    try:
        bulk_sampling.sample = lambda decoder, prompts, *a, **k: (
            sampled.append(len(prompts)) or original(decoder, prompts, *a, **k)
        )
        assert entry.attempt(sample.main, cut) == 0
    finally:
        bulk_sampling.sample = original
    assert sampled == [4, 4]  # the first portion of four was whole
    assert _rows(cut) == _rows(whole)


def test_no_more_rows_are_decoded_at_once_than_memory_has_room_for(tmp_path: Path, model: Path, monkeypatch):
    opened, original = [], LlamaDecoder.open
    monkeypatch.setattr(batch_planner, "rows_at_once", lambda *_, **given: opened.append(given["cpu_cache"]) or 3)
    monkeypatch.setattr(
        LlamaDecoder, "open", lambda one, count, *rest: opened.append(count) or original(one, count, *rest)
    )
    run = _run(tmp_path, model, batch_size=8)
    assert entry.attempt(sample.main, run) == 0
    assert opened[-2:] == [batch_planner.BULK_CACHE, 3] and len(_rows(run)) == 12


def test_of_a_model_that_keeps_its_caches_itself_few_rows_are_decoded_at_once(tmp_path: Path, model: Path, monkeypatch):
    """Nobody can count them here."""
    folder, rows, original = tmp_path / "gpt2", [], bulk_sampling.sample
    tokenizer = AutoTokenizer.from_pretrained(model)
    sizes = {"vocab_size": len(tokenizer), "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**sizes, eos_token_id=tokenizer.eos_token_id)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.setattr(bulk_sampling, "OTHERS", 5)
    monkeypatch.setattr(
        bulk_sampling, "sample", lambda *given, **named: rows.append(named["most_rows"]) or original(*given, **named)
    )
    run = _run(tmp_path / "run", folder, batch_size=8)
    assert entry.attempt(sample.main, run) == 0 and len(_rows(run)) == 12 and rows == [5]


def test_another_seed_gives_other_completions(tmp_path: Path, model: Path):
    first, second = _run(tmp_path / "1", model), _run(tmp_path / "2", model)
    config = json.loads((second.path / "config.json").read_text())
    (second.path / "config.json").write_text(json.dumps({**config, "seed": 6}))
    for run in (first, second):
        entry.attempt(sample.main, run)
    assert [r["text"] for r in _rows(first)] != [r["text"] for r in _rows(second)]


def test_a_model_with_a_small_window_answers_in_half_of_it_and_says_so(tmp_path: Path):
    small = tiny_model.make(tmp_path / "small")
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32}))
    run = _run(tmp_path / "run", small, PROMPTS[:1], max_new_tokens=1024)
    assert entry.attempt(sample.main, run) == 0
    assert {r["sampling"]["max_new_tokens"] for r in _rows(run)} == {16}
    assert all(1 <= r["tokens"] <= 16 for r in _rows(run))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompts": []}, "no_prompts"),
        ({"model": Path("nowhere")}, "model_missing"),
    ],
)
def test_what_cannot_be_sampled_fails_in_words(tmp_path: Path, model: Path, change: dict, code: str):
    run = _run(tmp_path, **{"model": model, **change})
    assert entry.attempt(sample.main, run) == 1
    failure = run.failure()
    assert failure["code"] == code and failure["remedy"]
    assert run.result() is None
