from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class CorpusConfig:
    """Gather texts, clean them by published rules, and freeze what is left as a corpus."""

    kind: ClassVar[str] = "corpus"
    batch_size: int = option(8, "examples in one optimiser step", low=1, high=4096)
