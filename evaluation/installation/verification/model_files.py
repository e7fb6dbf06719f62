"""Verify models: the folder of each is there, its weights are whole, and have the hash of its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from annotate.language_models.model_keys import KeyLost, key_of
from annotate.models import LanguageModel
from evaluation.installation.verification.faults import Fault, Look, from_elsewhere, missing, place_of, without_hash
from training.core.adapter_base import find_base, is_adapter, read_about
from training.core.file_checks.content_hashes import adapter_hash, full_weights_hash, tokenizer_hash
from training.core.file_checks.whole_files import broken_files
from training.core.folder_hash import folder_hash

_SECRETS = "Set SECRET_KEY, and ASSAY_KEY_SECRETS if there was one, to what they were; or enter the key again."


def check_models(look: Look) -> Iterator[Fault]:
    for model in LanguageModel.objects.exclude(folder="").order_by("pk").iterator():
        look.say(model.folder)
        if model.path is not None and (fault := _fault_of(model, model.path, look)):
            yield fault


def check_keys(look: Look) -> Iterator[Fault]:
    """Verify that the sealed keys of endpoints open with the secrets of this host."""
    for model in LanguageModel.objects.exclude(sealed_key="").exclude(endpoint="").order_by("pk").iterator():
        try:
            key_of(model)
        except KeyLost:
            yield Fault(_row(model), "sealed_key", "does not open with this host's secrets.", _SECRETS)


def _fault_of(model: LanguageModel, path: Path, look: Look) -> Fault | None:
    row = _row(model)
    if fault := missing(path, row, otherwise=", or import it again: manage.py import_model"):
        return fault
    if not path.is_dir():  # the storage has it
        return None
    if broken := next(broken_files(path), None):
        return Fault(row, place_of(broken), "is truncated or damaged.", from_elsewhere(path))
    if look.is_quick or not model.content_hash:
        return None
    return without_hash(row, path, model.content_hash, _hashes(model, path))


def _row(model: LanguageModel) -> str:
    return f"model {model.pk} ({model.name})"


def _hashes(model: LanguageModel, path: Path) -> Iterator[Callable[[], str]]:
    """Yield the ways in which a model may have got its hash, the likeliest first."""
    if is_adapter(path):
        yield lambda: adapter_hash(path, _hash_of_base(path))
    elif any(path.glob("*.safetensors")) and (path / "config.json").is_file():
        yield lambda: full_weights_hash(path)
    elif model.kind == LanguageModel.Kind.TOKENIZER:
        yield lambda: tokenizer_hash(path)
    yield lambda: folder_hash(path)


def _hash_of_base(path: Path) -> str:
    if known := read_about(path).get("hash"):
        return known
    base = find_base(path)
    return full_weights_hash(base) if base is not None else ""
