"""Put every prompt into one split, train or eval, by a stable hash of its text.

Votes on `train` prompts may train a model; votes on `eval` prompts may rank one. Pure: no Django.
"""

from __future__ import annotations

import hashlib
import unicodedata
from json.encoder import encode_basestring as _quoted  # type: ignore[attr-defined]

TRAIN, EVAL = "train", "eval"


def normalise(text: str) -> str:
    """Return the text without what makes no different prompt: case, compatibility forms and runs of white space."""
    if text.isascii():  # the same, and three times as fast
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_hash(messages: list[dict[str, str]]) -> str:
    """Return the sha256 of a conversation's normalised roles and texts, as hex."""
    return _hash(messages, [normalise(m["content"]) for m in messages])


def split_of(messages: list[dict[str, str]], eval_percent: int) -> str:
    """Return the split of a prompt: the same on every machine and for ever, whatever else the project holds.

    Only the first turn decides, so that a conversation's later turns stay in the split of its beginning.
    """
    return _split(normalise(messages[_deciding(messages)]["content"]), eval_percent)


def hash_and_split(messages: list[dict[str, str]], eval_percent: int) -> tuple[str, str]:
    """Return `text_hash` and `split_of` of a conversation; each text is normalised once."""
    texts = [normalise(m["content"]) for m in messages]
    return _hash(messages, texts), _split(texts[_deciding(messages)], eval_percent)


def _hash(messages: list[dict[str, str]], texts: list[str]) -> str:
    # As json.dumps(…, ensure_ascii=False) writes a list of [role, text], which takes twice as long.
    turns = ", ".join([f"[{_quoted(m['role'])}, {_quoted(text)}]" for m, text in zip(messages, texts, strict=True)])
    return hashlib.sha256(f"[{turns}]".encode()).hexdigest()


def _deciding(messages: list[dict[str, str]]) -> int:
    return 0 if messages[0]["role"] != "system" else -1


def _split(text: str, eval_percent: int) -> str:
    bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    return EVAL if bucket < eval_percent else TRAIN
