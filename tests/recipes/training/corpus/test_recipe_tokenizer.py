"""A tokenizer run: a folder that everything loads, texts that come back whole, and figures that can be checked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import tokenizer
from training.recipes.common import entry, loading
from training.recipes.pretrain import fertility

STRANGE = ["Zwölf  Boxkämpfer\n\n\tjagen", "你好 🙂 שלום", "x\x00y\r\nz", "1234567 3.14", "  leading", ""]


def texts(count: int = 400, seed: int = 0) -> list[str]:
    """Made-up words that come again, some of them often, as words do."""
    draw, words_of = random.Random(seed), random.Random(0)
    syllables = [a + b for a in "bdfglmnprstvz" for b in "aeiou"]
    words = ["".join(words_of.choices(syllables, k=words_of.randint(1, 4))) for _ in range(600)]
    weights = [1 / (n + 1) for n in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=60)) + ". 2024" for _ in range(count)]


def make_run(folder: Path, train: list[str] | None = None, **config: Any) -> RunDirectory:
    run = RunDirectory(folder)
    train = texts() if train is None else train
    held_out = [{"text": text, "source": f"s{n % 2}"} for n, text in enumerate(texts(20, seed=1))]
    half = len(train) // 2
    run.create(
        RunSpec("tokenizer", {"vocab_size": 800} | config),
        {
            "train-00000": iter([{"text": text, "source": "s0"} for text in train[:half]]),
            "train-00001": iter([{"text": text, "source": "s1"} for text in train[half:]]),
            "validation": iter(held_out),
        },
    )
    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("runs") / "whole")
    assert entry.attempt(tokenizer.main, run) == 0, run.failure()
    return run


@pytest.fixture(scope="module")
def learnt(done):
    return AutoTokenizer.from_pretrained(done.model)


def test_everything_that_recipes_need_is_one_token_with_an_id_of_its_own(learnt, done):
    special = [*("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|mask|>")]
    special += [f"<extra_id_{n}>" for n in range(100)]
    assert [learnt.convert_tokens_to_ids(name) for name in special] == list(range(105))
    assert [learnt(name)["input_ids"] for name in special] == [[n] for n in range(105)]
    assert (learnt.eos_token, learnt.pad_token, learnt.mask_token) == ("<|endoftext|>", "<|pad|>", "<|mask|>")
    assert learnt.padding_side == "left" and len(learnt) == done.result()["vocab_size"] == 800
    assert loading.load_tokenizer(done.model).pad_token_id == 1


def test_any_text_comes_back_as_it_went_in(learnt):
    for text in [*STRANGE, *texts(5, seed=7)]:
        assert learnt.decode(learnt(text)["input_ids"]) == text
    assert learnt.decode(learnt("Hi<|im_end|>")["input_ids"], skip_special_tokens=True) == "Hi"


def test_nothing_is_added_around_a_text(learnt):
    assert learnt("ba")["input_ids"] == learnt("ba", add_special_tokens=False)["input_ids"]


def test_digits_stand_alone_unless_they_are_to_be_grouped(learnt, tmp_path):
    assert learnt.tokenize("2024") == ["2", "0", "2", "4"]
    run = make_run(tmp_path / "grouped", digits="grouped")
    assert entry.attempt(tokenizer.main, run) == 0
    assert len(loading.load_tokenizer(run.model).tokenize(" 2024")) == 1


def test_the_chat_template_is_what_recipes_and_servers_expect(learnt):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Ho."},
    ]
    assert learnt.apply_chat_template(chat, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi?<|im_end|>\n"
        "<|im_start|>assistant\nHo.<|im_end|>\n"
    )
    asked = learnt.apply_chat_template(chat[1:2], tokenize=False, add_generation_prompt=True)
    assert asked == "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    ids = loading.encode_prompt(learnt, chat[:2], 100)
    assert ids.count(learnt.convert_tokens_to_ids("<|im_start|>")) == 3
    with pytest.raises(loading.RecipeFailure, match="system, user and assistant, not tool"):
        loading.encode_prompt(learnt, [{"role": "tool", "content": "x"}], 100)


def test_fertility_is_what_counting_gives(done, learnt):
    everything, *by_source = done.result()["report"]["sources"]
    rows = list(read_lines(done.path / "data" / "validation.jsonl"))
    tokens = sum(len(learnt(row["text"])["input_ids"]) for row in rows)
    words = sum(len(row["text"].split()) for row in rows)
    size = sum(len(row["text"].encode()) for row in rows)
    assert (everything["tokens"], everything["words"], everything["bytes"]) == (tokens, words, size)
    assert done.result()["tokens_per_word"] == tokens / words and done.result()["bytes_per_token"] == size / tokens
    assert [row["source"] for row in by_source] == ["s0", "s1"]
    assert sum(row["tokens"] for row in by_source) == tokens
    assert everything["tokens_per_word"] < 2 < everything["bytes_per_token"], "it has learnt something"


def test_larger_vocabularies_fit_better_from_bytes_alone_to_all(done):
    rows = [(row["step"], row["values"]) for row in read_lines(done.path / "metrics.jsonl")]
    sizes, figures = zip(*rows, strict=True)
    assert sizes[0] == 361 and sizes[-1] == 800 and list(sizes) == sorted(sizes)
    assert figures[0]["bytes_per_token"] == 1.0
    fits = [values["bytes_per_token"] for values in figures]
    assert fits == sorted(fits)
    assert fits[-1] == done.result()["bytes_per_token"]


def test_tokens_that_never_come_up_are_counted(done, learnt):
    counts = dict.fromkeys(range(361, 800), 0)
    for text in texts():
        for number in learnt(text)["input_ids"]:
            if number in counts:
                counts[number] += 1
    unused = [number for number, count in counts.items() if not count]
    assert done.result()["unused_share"] == len(unused) / (800 - 361)


def test_the_same_corpus_gives_the_same_files_and_another_does_not(done, tmp_path):
    again = make_run(tmp_path / "again")
    other = make_run(tmp_path / "other", texts(seed=5))
    for run in (again, other):
        assert entry.attempt(tokenizer.main, run) == 0
    files = {path.name: path.read_bytes() for path in done.model.iterdir()}
    assert {path.name: path.read_bytes() for path in again.model.iterdir()} == files
    assert again.result()["hash"] == done.result()["hash"] != other.result()["hash"]


def test_cut_off_before_it_was_kept_it_ends_the_same(done, tmp_path, monkeypatch):
    run = make_run(tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(fertility, "usage", lambda *given, **named: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(tokenizer.main, run)
    assert entry.attempt(tokenizer.main, run) == 0
    assert run.result()["hash"] == done.result()["hash"]
    assert len(list(read_lines(run.path / "metrics.jsonl"))) == len(list(read_lines(done.path / "metrics.jsonl")))


def test_a_corpus_too_small_for_the_vocabulary_is_refused_with_one_that_fits(tmp_path):
    run = make_run(tmp_path / "small", texts(6), vocab_size=4000)
    assert entry.attempt(tokenizer.main, run) == 1
    failure = run.failure()
    assert failure["code"] == "corpus_too_small" and "at most" in failure["remedy"]
    fits = failure["remedy_changes"]["vocab_size"]
    again = make_run(tmp_path / "again", texts(6), vocab_size=fits)
    assert entry.attempt(tokenizer.main, again) == 0, again.failure()


def test_a_vocabulary_without_room_is_refused_before_it_runs(tmp_path):
    run = make_run(tmp_path / "tiny", vocab_size=350)
    assert entry.attempt(tokenizer.main, run) == 1
    assert run.failure()["code"] == "bad_config" and "above 361" in run.failure()["message"]
    without = make_run(tmp_path / "without", vocab_size=350, sentinels=0)
    assert entry.attempt(tokenizer.main, without) == 0


def test_what_is_no_corpus_is_told(tmp_path):
    run = RunDirectory(tmp_path / "none")
    run.create(RunSpec("tokenizer", {}), {"prompts": iter([{"messages": []}])})
    assert entry.attempt(tokenizer.main, run) == 1
    assert run.failure()["code"] == "no_corpus"


def test_a_part_of_a_large_corpus_is_drawn_by_hash(done, tmp_path):
    run = make_run(tmp_path / "part")
    drawn = tokenizer.Texts(run, 1)
    drawn.share = 0.25
    some = list(drawn)
    assert 60 < len(some) < 140 and list(drawn) == some
    assert json.loads((done.path / "result.json").read_text())["train_megabytes"] == pytest.approx(
        sum(len(text.encode()) for text in texts()) / 1e6
    )
