"""Learn a byte-level BPE tokenizer from a corpus: `python -m training.recipes.tokenizer RUN_DIR`.

Byte-pair encoding (Sennrich et al. 2016, 1508.07909) over bytes (GPT-2), by the `tokenizers` library, from
`data/train-*.jsonl`, streamed. Ids: <|endoftext|> (end of a text, and of an answer), <|pad|>, <|im_start|>, <|im_end|>,
<|mask|>, <extra_id_0> … for span corruption, then the 256 bytes and what was merged; any text can be written. The
model is a folder that AutoTokenizer loads, with a ChatML template for system, user and assistant.

How well it fits is measured on `data/validation.jsonl`: tokens a word (*fertility*), bytes a token, by source; for
smaller vocabularies too, since the first merges of a vocabulary are the smaller vocabulary. One pass over the training
texts counts the tokens that never come up. The same corpus and config give the same files. A killed run begins anew,
which changes nothing. Left out: Unigram and WordPiece, and a tokenizer that goes on from another.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.configs import TokenizerConfig
from training.core.file_checks.content_hashes import tokenizer_hash
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.pretrain import fertility

END, PAD, TURN, TURN_END, MASK = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|mask|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('The roles are system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: TokenizerConfig = config_of(spec)
    started = time.monotonic()
    run.truncate_logs(0)
    texts = Texts(run, config.train_mb)
    run.progress("Counting words and merging", 0, 0)
    trained = train(texts, config)
    check_size(trained, texts, config)

    run.progress("Saving", 0, 0)
    tokenizer = as_transformers(trained, config)
    folder = run.begin_model()
    tokenizer.save_pretrained(folder)
    check_round_trip(folder)
    run.commit_model()

    run.progress("Measuring", 0, 0)
    for size, measured in fertility.by_vocabulary(trained, texts.validation(), first=first_merged(config)):
        run.log_metrics(size, **measured)
    validation = fertility.by_source(trained, texts.validation())
    usage = fertility.usage(trained, texts, first=first_merged(config))
    everything = validation["all sources"]
    run.finish(
        {
            "vocab_size": trained.get_vocab_size(),
            "tokens_per_word": everything["tokens_per_word"],
            "bytes_per_token": everything["bytes_per_token"],
            "unused_share": usage.unused_share,
            "train_megabytes": texts.bytes_read / 1e6,
            "validation_bytes": everything["bytes"],
            "hash": tokenizer_hash(run.model),
            "seconds": time.monotonic() - started,
            "report": {
                "sources": [{"source": name, **figures} for name, figures in validation.items()],
                "longest_tokens": usage.longest,
                "unused_tokens": usage.unused,
                "samples": fertility.split_samples(trained, texts.validation()),
            },
        }
    )


class Texts:
    """Yield the training texts, as often as one goes through them: where they exceed the limit, an even draw by
    hash."""

    def __init__(self, run: RunDirectory, limit_mb: int) -> None:
        self.files = sorted((run.path / "data").glob("train-*.jsonl"))
        self.held_out = run.path / "data" / "validation.jsonl"
        if not self.files or not self.held_out.exists():
            raise RecipeFailure(
                "no_corpus",
                "The dataset has no train-00000.jsonl and validation.jsonl.",
                "Choose a dataset from a corpus run.",
            )
        size = sum(file.stat().st_size for file in self.files)
        self.share = min(limit_mb * 1_000_000 / max(size, 1), 1.0)
        self.bytes_read = 0

    def __iter__(self) -> Iterator[str]:
        self.bytes_read = 0
        for file in self.files:
            for row in read_lines(file):
                if self.share == 1 or _place(row["text"]) < self.share:
                    self.bytes_read += len(row["text"].encode("utf-8", "replace"))
                    yield row["text"]

    def validation(self) -> Iterator[tuple[str, str]]:
        """Yield (source, text), at most `fertility.MOST_BYTES` of them."""
        left = fertility.MOST_BYTES
        for row in read_lines(self.held_out):
            left -= len(row["text"])
            if left < 0:
                return
            yield row.get("source", ""), row["text"]


def _place(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def specials(config: TokenizerConfig) -> list[str]:
    return [END, PAD, TURN, TURN_END, MASK, *(f"<extra_id_{number}>" for number in range(config.sentinels))]


def first_merged(config: TokenizerConfig) -> int:
    """Return the first id that is neither special nor a byte."""
    return len(specials(config)) + 256


def train(texts: Texts, config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    by_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    split = pre_tokenizers.Sequence([digits, by_words]) if config.digits == "single" else by_words
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in specials(config)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    return tokenizer


def check_size(trained: Tokenizer, texts: Texts, config: TokenizerConfig) -> None:
    vocab_size = trained.get_vocab_size()
    if vocab_size < config.vocab_size:
        raise RecipeFailure(
            "corpus_too_small",
            f"{texts.bytes_read / 1e6:.2f} MB of text have only {vocab_size:,} tokens with a frequency of at least "
            f"{config.min_frequency} times, not {config.vocab_size:,}.",
            f"Set vocab_size to at most {vocab_size:,}, better to half of that, or use more text.",
            remedy_changes={"vocab_size": max(vocab_size // 2, first_merged(config) + 1)},
        )


def as_transformers(trained: Tokenizer, config: TokenizerConfig) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        mask_token=MASK,
        additional_special_tokens=[name for name in specials(config) if name not in (END, PAD, MASK)],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def check_round_trip(folder: Path) -> None:
    """Check that the saved tokenizer, read back, gives every text as it went in, and one token for each marker."""
    from training.recipes.common.loading import encode_prompt, load_tokenizer

    tokenizer = load_tokenizer(folder)
    text = "Zwölf  Boxkämpfer\n\t42 ≠ 7, don’t — 你好 🙂"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text, "bytes were lost"
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": "Hi"}], 100)
    assert prompt[0] == tokenizer.convert_tokens_to_ids(TURN), "the chat template's markers are no tokens"


if __name__ == "__main__":
    run_recipe(main)
