from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class SurpriseConfig:
    """Tell abnormal texts of a domain by how surprised a model of that domain is."""

    kind: ClassVar[str] = "surprise"
    passage_bytes: int = option(
        400,
        "length of a passage: texts are cut at line ends to about this length",
        low=40,
        high=20000,
    )
    passages: int = option(100, "maximum number of normal passages, and of foreign passages", low=10, high=5000)
    spoil: bool = option(
        True, "also test corrupted copies of the normal passages, to see which corruptions are detected"
    )
    compare: bool = option(
        True,
        "use the difference to the parent's surprise: text that is hard for both is not abnormal",
    )
    swapped_letters: float = option(0.05, "share of words in which two letters change places", low=0.01, high=1)
    max_length: int = option(1024, "tokens in the context", low=16, high=131072, advanced=True)
    batch_size: int = option(16, "passages per forward pass", low=1, high=4096, advanced=True)
