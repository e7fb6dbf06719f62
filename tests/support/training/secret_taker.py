"""A recipe that takes the key of an endpoint and writes down its hash alone: for tests of how keys travel."""

import hashlib
import os
import sys
from pathlib import Path

from training.core import run_secrets

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    key = run_secrets.key_for("parent", "https://models.example/v1")
    (directory / "taken.txt").write_text(hashlib.sha256(key.encode()).hexdigest())
    assert key and key not in " ".join([*sys.argv, *os.environ.values()])
