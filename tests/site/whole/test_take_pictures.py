"""The pictures of the documentation are taken by a script: two of them, of a site without background worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load import web
from docs.take_pictures import find_chromium
from tests.conftest import missing
from tests.support.factories import PASSWORD
from tests.support.processes import ROOT
from tests.support.sites.site import empty_site

PNG = b"\x89PNG"


@pytest.mark.thorough
@pytest.mark.slow
def test_a_form_on_a_phone_and_a_page_are_taken(tmp_path: Path):
    if find_chromium() is None:
        missing("Chromium", "script/test installs it; or name one: CHROMIUM=/path/to/chromium")
    site, pictures = empty_site(tmp_path / "site"), tmp_path / "pictures"
    run([sys.executable, "-m", "tests.support.sites.fill_judging", "rita:manager"], site.environment)
    with web(site.environment, workers=1) as port:
        take = [sys.executable, "docs/take_pictures.py", "--url", f"http://127.0.0.1:{port}", "--folder", str(pictures)]
        take += ["--user", "rita", "--password", PASSWORD]
        run([*take, "--forms", "--only", "judge-rate", "--screens", "phone"], site.environment)
        run([*take, "--project", "judge-rate", "--only", "leaderboard", "--screens", "dark"], site.environment)
    assert {path.name for path in pictures.iterdir()} == {"judge-rate-phone.png", "leaderboard-dark.png"}
    assert all(path.read_bytes().startswith(PNG) for path in pictures.iterdir())


def run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)
