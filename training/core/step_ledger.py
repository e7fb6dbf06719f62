"""Append to one file of the machine which attempt took which step: the proof that no two of a run wrote at once.

Where ASSAY_STEP_LEDGER names a file, each recipe appends a line when it starts and at each step, with a token that is
random for each process. Lines of several processes never mix: each is one short append. Without it nothing is
written; a recipe is given the variable where ASSAY_RECIPE_ENVIRONMENT lists it (`benchmarks/cluster_faults.py`).
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress

VARIABLE = "ASSAY_STEP_LEDGER"
_token = secrets.token_hex(8)


def note(run: str, what: str, step: int = 0) -> None:
    """Append that this process of a run has started, or has taken a step: what was logged, and which."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = json.dumps({"run": run, "token": _token, "what": what, "step": step}) + "\n"
    with suppress(OSError), open(path, "ab", buffering=0) as file:  # noqa: PTH123 - one append, unbuffered
        file.write(line.encode())
