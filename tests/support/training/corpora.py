"""A tokenizer and a corpus small enough to be made in a test: byte-level BPE with every token that recipes need."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.tiny_model import TEMPLATE

WORDS = ("the cat", "the dog", "a bird", "sits on", "runs to", "looks at", "the mat", "the door", "a tree", "the hill")
SPECIAL = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|im_start|>", "<|im_end|>")


def texts(count: int, seed: int = 0) -> list[str]:
    """Sentences of a language that is learnt in seconds: who does what, where, in that order."""
    draw = random.Random(seed)
    return [
        " ".join(
            f"{draw.choice(WORDS[:3])} {draw.choice(WORDS[3:6])} {draw.choice(WORDS[6:])}."
            for _ in range(draw.randint(2, 9))
        )
        for _ in range(count)
    ]


@cache
def tokenizer(sentinels: int = 100, without: tuple[str, ...] = ()) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [name for name in SPECIAL if name not in without]
    extra = [f"<extra_id_{n}>" for n in range(sentinels)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320 + len(special) + len(extra),
        special_tokens=[*special, *extra],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts(50), trainer)
    named = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>", "mask_token": "<|mask|>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        **{name: token for name, token in named.items() if token not in without},
        additional_special_tokens=["<|im_start|>", "<|im_end|>", *extra],
    )
    fast.chat_template = TEMPLATE
    return fast


def make_tokenizer(folder: Path, **choices: Any) -> Path:
    tokenizer(**choices).save_pretrained(folder)
    return folder


def write_corpus(data: Path, train: list[str], validation: list[str]) -> None:
    """The files of a dataset of kind corpus."""
    data.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train-00000", train), ("validation", validation)):
        lines = [json.dumps({"text": text, "source": "test"}, ensure_ascii=False) for text in rows]
        (data / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
