"""The model that recipes are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny model, of this module alone."""
    return tiny_model.make(tmp_path_factory.mktemp("tiny") / "model")
