"""Read the corpus of a run: token files made once by the first process, opened by all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.core.run_directory import RunDirectory
from training.recipes.common.processes import Processes
from training.recipes.pretrain import token_files
from training.recipes.pretrain.token_files import TokenFile

DOCUMENT_END = "<|endoftext|>"


@dataclass(frozen=True)
class Corpus:
    train: TokenFile
    held_out: TokenFile
    replay: TokenFile | None


def read_corpus(
    run: RunDirectory, tokenizer: Any, together: Processes, *, end: int, length: int, validation_tokens: int
) -> Corpus:
    """Return the corpus. Raises RecipeFailure when there is too little text, or the tokenizer cannot write it."""
    together.first_then_all(lambda: token_files.tokenise(run, tokenizer, end=end, validation_tokens=validation_tokens))
    train, held_out, replay = (token_files.open_file(run, name, tokenizer) for name in token_files.NAMES)
    token_files.check_corpus(train, held_out, length)
    # A second corpus shorter than one row has nothing to replay.
    return Corpus(train, held_out, replay if replay.counts.tokens > length else None)


def document_end(tokenizer: Any) -> int | None:
    """Return the token that stands between texts. A chat model's own end token closes turns, and is not for that."""
    ids = tokenizer.get_vocab()
    end = ids.get(DOCUMENT_END)
    return end if end is not None and end != tokenizer.pad_token_id else tokenizer.eos_token_id
