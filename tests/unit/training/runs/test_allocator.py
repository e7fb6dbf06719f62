"""Recipes keep what they free, unless a person has told the allocator otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import training.recipes

def turn():
    blocks = [bytearray(b"x" * 2**24) for _ in range(6)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

turn(), turn()
before = faults()
turn(), turn(), turn()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other options")
@pytest.mark.parametrize(("chosen", "keeps"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_a_recipe_gets_the_same_pages_again(chosen: dict[str, str], keeps: bool):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment | chosen, check=True
    )
    pages = 3 * 6 * 2**24 // 4096
    assert (int(ended.stdout) < pages / 20) == keeps
