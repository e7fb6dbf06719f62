from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option

MARKERS = 5  # <|endoftext|>, <|pad|>, <|im_start|>, <|im_end|>, <|mask|>
BYTES = 256


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a byte-level BPE tokenizer on a corpus."""

    kind: ClassVar[str] = "tokenizer"
    vocab_size: int = option(
        8192, "tokens, special ones included; 4,000 to 8,000 for a small model", low=300, high=10**6
    )
    digits: str = option(
        "single", "single: each digit a token, which helps with sums; grouped", choices=("single", "grouped")
    )
    sentinels: int = option(
        100, "<extra_id_0> and so on, for span corruption; 0 leaves that objective out", low=0, high=1000, advanced=True
    )
    min_frequency: int = option(2, "pairs seen less often are not merged", low=1, high=10**6, advanced=True)
    train_mb: int = option(
        1024, "learn from at most so much text, drawn evenly by hash", low=1, high=10**6, advanced=True
    )

    def cross_check(self) -> dict[str, str]:
        least = BYTES + MARKERS + self.sentinels
        if self.vocab_size <= least:
            return {
                "vocab_size": f"must be above {least}: {BYTES} bytes, {MARKERS} markers and {self.sentinels} sentinels "
                "come first."
            }
        return {}
