"""What several tests of runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def storage(settings: Any, tmp_path: Path) -> Path:
    """A folder that every host reaches, as ASSAY_STORAGE."""
    folder = tmp_path / "storage"
    folder.mkdir()
    settings.STORAGE = str(folder)
    return folder
