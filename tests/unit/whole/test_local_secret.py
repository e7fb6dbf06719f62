"""The key that an installation makes for itself at its first start."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from config.local_secret import local_secret


def test_processes_that_start_at_once_get_one_key_that_only_their_user_reads(tmp_path: Path):
    with multiprocessing.get_context("fork").Pool(4) as processes:
        keys = processes.map(local_secret, [tmp_path] * 4, chunksize=1)
    assert len(set(keys)) == 1 and len(keys[0]) > 50 and local_secret(tmp_path) == keys[0]
    assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600


def test_an_empty_file_of_a_start_that_was_killed_counts_as_none(tmp_path: Path):
    (tmp_path / "secret-key").touch(mode=0o600)
    assert len(local_secret(tmp_path)) > 50
