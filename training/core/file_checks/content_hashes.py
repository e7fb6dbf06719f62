"""Compute the hashes that results of runs carry: of weights, adapters, tokenizers and corpora. Knows no torch."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from training.core.adapter_base import CONFIG

ADAPTER_WEIGHTS = "adapter_model.safetensors"
# What changes in config.json without changing the function it describes.
VOLATILE_CONFIG = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
_LORA_FIELDS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")
_BLOCK = 1 << 22


def full_weights_hash(folder: str | Path) -> str:
    """Return the sha256 over the safetensors' names and bytes and the config without what changes no function."""
    files = [Path(folder) / "config.json", *sorted(Path(folder).glob("*.safetensors"))]
    return _hash_of_weights(tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files))


def adapter_hash(folder: str | Path, base_hash: str) -> str:
    """Return the sha256 over the base's hash and the adapter's weights: of the function, whatever the folders are
    called."""
    digest = hashlib.sha256(base_hash.encode())
    config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    digest.update(json.dumps({name: config.get(name) for name in _LORA_FIELDS}, sort_keys=True).encode())
    _read_into(digest, Path(folder) / ADAPTER_WEIGHTS)
    return digest.hexdigest()


def tokenizer_hash(folder: Path) -> str:
    """Return the sha256 over the JSON files of a tokenizer, without the version of the library that wrote them."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("transformers_version", None)
        digest.update(f"{path.name} {json.dumps(content, sort_keys=True)}\n".encode())
    return digest.hexdigest()


def corpus_hash(folder: Path) -> str:
    """Return the sha256 of the names, sizes and bytes of a corpus' files."""
    digest = hashlib.sha256(b"assay dataset 1 corpus train\n")
    for path in sorted(folder.glob("*.jsonl")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        _read_into(digest, path)
    return digest.hexdigest()


@functools.cache
def _hash_of_weights(files: tuple[tuple[str, int, int], ...]) -> str:
    """Return the hash of files by path, time and size, so that a base of gigabytes is read once in a process."""
    (config_path, _, _), *weights = files
    digest = hashlib.sha256()
    config = json.loads(Path(config_path).read_text(encoding="utf-8"))
    stable_fields = {name: value for name, value in config.items() if name not in VOLATILE_CONFIG}
    digest.update(json.dumps(stable_fields, sort_keys=True).encode())
    for name, _, _ in weights:
        digest.update(Path(name).name.encode())
        _read_into(digest, Path(name))
    return digest.hexdigest()


def _read_into(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
