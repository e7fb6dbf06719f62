"""Make an adapter's folder a model to transformers: the base's config, and an index that finds its weights.

`transformers serve` 5.24 answers a folder of adapter_config.json and adapter_model.safetensors with HTTP 500: it wants
config.json, and then weights in the same folder. An index of shards may name files elsewhere. So it loads the base by
that index and the adapter on top, and so does any program's `AutoModelForCausalLM.from_pretrained(folder)`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from safetensors import safe_open

INDEX = "model.safetensors.index.json"


def write_base_index(folder: Path, base: Path) -> None:
    """Write config.json and the index into an adapter's `folder`; the base's files are named as seen from there.

    A run writes beside the place that its folder gets at the end, so that these names hold there, too.
    """
    shutil.copy(base / "config.json", folder / "config.json")
    files = sorted(base.glob("*.safetensors"))
    weight_map = {name: os.path.relpath(path.resolve(), folder.resolve()) for path in files for name in _names(path)}
    index = {"metadata": {"total_size": sum(path.stat().st_size for path in files)}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _names(path: Path) -> list[str]:
    with safe_open(path, "pt") as file:
        return list(file.keys())
