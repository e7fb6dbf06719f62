"""Have a command's log go to a file, so that its terminal shows what it has to say and errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Append every record to the file until the block ends; the handlers that stand show errors alone meanwhile."""
    root = logging.getLogger()
    standing = [(handler, handler.level) for handler in root.handlers]
    file.parent.mkdir(parents=True, exist_ok=True)
    file_handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    file_handler.setFormatter(standing[0][0].formatter if standing else None)
    root.addHandler(file_handler)
    for handler, level in standing:
        handler.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        root.removeHandler(file_handler)
        file_handler.close()
        for handler, level in standing:
            handler.setLevel(level)
