"""What script/audit says of pip-audit's answers, most of all when there are none."""

from __future__ import annotations

import json

import pytest

from tests.support.advisories import read, verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("rows", "at_home", "in_ci", "says"),
    [
        ([CLEAN], 0, 0, "1 packages were asked about"),
        ([CLEAN, WEAK], 1, 1, "b 2: PYSEC-1, mended in 2.1"),
        ([CLEAN, SKIPPED], 0, 2, "Not asked about: c."),
        ([SKIPPED], 0, 2, "could not be had"),
        ([], 0, 2, "could not be had"),
    ],
)
def test_a_weakness_fails_and_silence_is_no_clean_bill(tmp_path, rows, at_home, in_ci, says):
    file = tmp_path / "audit.json"
    file.write_text(json.dumps({"dependencies": rows}))
    assert verdict(read(file), is_ci=False)[0] == at_home
    status, text = verdict(read(file), is_ci=True)
    assert status == in_ci and says in text


@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_half_a_file_or_none_is_silence(tmp_path, text):
    file = tmp_path / "audit.json"
    if text is not None:
        file.write_text(text)
    assert read(file).asked == 0
