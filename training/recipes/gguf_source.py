"""Read a GGUF file once where transformers would read it four times.

It parses all metadata, token by token, for the configuration, the weights and the tokenizer each, and builds the map of
tensor names anew for every module of the model: most of the time that the import of a small model took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import gguf


@contextmanager
def parsed_once() -> Iterator[None]:
    """Keep what `gguf` has parsed for whoever asks for the same until the end."""
    reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(reader), cache(name_map)  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, name_map  # type: ignore[misc]


def licence(path: Path) -> str:
    """Return the licence that the metadata declare, empty where they declare none."""
    field = gguf.GGUFReader(str(path.resolve())).fields.get("general.license")
    return str(field.contents()) if field else ""
