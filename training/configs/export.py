from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class ExportConfig:
    """A model as files for other programs, or on a hub."""

    kind: ClassVar[str] = "export"
    to: str = option(
        "gguf",
        "gguf: one file for llama.cpp; safetensors: the model's folder as one archive; hub: a repository on the hub",
        choices=("gguf", "safetensors", "hub"),
    )
    precision: str = option(
        "auto",
        "gguf: type of the weights; auto: the smallest without loss; q8_0: smaller, and the run reports the loss",
        choices=("auto", "float32", "float16", "bfloat16", "q8_0"),
    )
    adapter: bool = option(
        False,
        "only the adapter, for a server that has its base: in PEFT's format, or as a GGUF adapter; off: merged with "
        "its base (safetensors and hub: in float32)",
    )
    sequence_classifier: bool = option(
        False,
        "a reward model as transformers' AutoModelForSequenceClassification and TRL read it (safetensors and hub): of "
        "one trained with features = final",
    )
    repository: str = option("", "hub: owner/name; the worker needs HF_TOKEN with write access")
    private: bool = option(True, "hub: only its owner sees the repository at first")

    def cross_check(self) -> dict[str, str]:
        if self.sequence_classifier and self.to == "gguf":
            return {"to": "must be safetensors or hub for a sequence classifier: GGUF has none."}
        if self.to == "hub" and self.repository.count("/") != 1:
            return {"repository": f"must be owner/name of a repository on the hub, not {self.repository!r}."}
        return {}
