from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class EvaluateConfig:
    """Perplexity of answers on the eval side."""

    kind: ClassVar[str] = "evaluate"
    texts: str = option(
        "preferred",
        "preferred: the answers that judges liked best; first: answers of the model's first ancestor, to see how far "
        "it has moved from them",
        choices=("preferred", "first"),
    )
    limit: int = option(200, "how many answers at most, the same ones for every model", low=2, high=100000)
    max_length: int = option(1024, "tokens seen at once, prompt included", low=16, high=131072, advanced=True)
    batch_size: int = option(8, "sequences forwarded at once", low=1, high=4096, advanced=True)
