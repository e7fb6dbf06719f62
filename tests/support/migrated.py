"""A migrated SQLite file, made once and copied by all tests: the migrations take longer than most test modules do."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.processes import ROOT

_APPS = ("annotate", "training", "evaluation")
_KEPT = ROOT / ".pytest_cache" / "migrated"
_FOREIGN = ("DATABASE_URL", "REDIS_URL", "DJANGO_ALLOW_ASYNC_UNSAFE")  # of whoever runs the tests


def copy_migrated(target: Path) -> None:
    """Put an empty database with all tables at `target`, as `manage.py migrate` makes it."""
    shutil.copyfile(migrated_file(), target)


def migrated_file(kept: Path = _KEPT) -> Path:
    """Return the file for the migrations as they stand, which one process of several makes if need be."""
    file = kept / f"{fingerprint()}.sqlite3"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            for old in kept.glob("*.sqlite3"):
                old.unlink()
            _make(file)
    return file


def fingerprint() -> str:
    """Return a digest of what the tables depend on: our migrations, the packages with theirs, and the Python."""
    digest = hashlib.sha256(sys.version.encode())
    migrations = [path for app in _APPS for path in sorted((ROOT / app / "migrations").glob("*.py"))]
    for path in [ROOT / "requirements.lock", *migrations]:
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:20]


def _make(file: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        environment |= {"ASSAY_DATA": folder}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        coming = file.with_suffix(".coming")
        shutil.copyfile(Path(folder) / "assay.sqlite3", coming)
    coming.replace(file)
