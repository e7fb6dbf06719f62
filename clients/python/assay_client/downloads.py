"""Files that the server sends, read as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from assay_client.errors import Unreachable


class Download:
    """A file on its way. Read it once: `save`, `read`, `text` or `rows`; or close it (`with`)."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def content_type(self) -> str:
        return str(self._response.headers.get("Content-Type", ""))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file and return its path. A part of it never stands under that name."""
        place = Path(path)
        part = place.with_name(place.name + ".part")
        with part.open("wb") as file:
            for chunk in self._chunks():
                file.write(chunk)
        return part.replace(place)

    def read(self) -> bytes:
        return b"".join(self._chunks())

    def text(self) -> str:
        return self.read().decode()

    def rows(self) -> Iterator[Any]:
        """Yield each line of JSON lines."""
        rest = b""
        for chunk in self._chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines if line.strip())
        if rest.strip():
            yield json.loads(rest)

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from self._response.iter_bytes()
        except httpx.TransportError as error:
            raise Unreachable(f"The download broke off ({error!r}); start it again.") from error
        finally:
            self._response.close()
