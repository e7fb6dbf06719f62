"""Fetch the first rows of a dataset on a hub as a draft: it is then looked at and added like a file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from django.conf import settings

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.data.add_data.drafts import Draft, keep_file
from annotate.data.rows.hub_rows import SPLIT, is_name
from annotate.data.rows.hub_tasks import KNOWN
from annotate.models import Project, User
from common.proxy_variables import PROXIES
from common.whole_numbers import whole_number

ROWS, MOST_ROWS = 1000, 20_000
SECONDS = 90  # that somebody waits
_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HF_ENDPOINT", "HF_HUB_OFFLINE", *PROXIES),
)

_SWITCHED_OFF = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
log = logging.getLogger(__name__)


def fetch(name: str, *, split: str, rows: str, project: Project, by: User) -> Draft:
    """Keep the first rows as a draft. Refused, by field, for what is wrong with the order, the dataset or the way to
    the hub."""
    require(by, "research", project)
    name, split, limit = name.strip(), split.strip() or "train", whole_number(rows.strip() or str(ROWS), 0, digits=6)
    _check(name, split, limit)
    with tempfile.TemporaryDirectory(prefix="assay-hub-") as folder:
        path = Path(folder) / "rows.jsonl"
        load(name, split, limit, path)
        with path.open("rb") as file:
            draft = keep_file(file, f"{name} {split}.jsonl", project=project, by=by)
    audit.record(action="hub.read", about=f"hub:{name} {split}, {limit} rows", by=by, project=project)
    return draft


def known_plan(name: str) -> dict[str, str]:
    """Return the fields of the look's form that are known for this dataset: what it becomes, its task and labels."""
    task = KNOWN.get(name.strip())
    if task is None:
        return {}
    columns = {f"column:labelled:{theirs}": ours for ours, theirs in task.columns.items()}
    labels = ", ".join(f"{value}={label}" for value, label in task.labels.items())
    return {"as": "labelled", "task": task.task, "labels": labels, **columns}


def load(name: str, split: str, limit: int, path: Path) -> None:
    """Write the rows to `path`, by a process of its own in an empty folder, without the operator's token. Refused with
    what it says is wrong."""
    with tempfile.TemporaryDirectory(prefix="assay-hub-") as folder:
        command = [sys.executable, "-m", "annotate.data.rows.hub_rows", name, split, str(limit), str(path)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired as error:
            slow = f"{name} was not there after {SECONDS} seconds. Fetch fewer rows, or try again."
            raise Refused(504, hub=slow) from error
    if done.returncode:
        raise Refused(400, hub=_problem_of(done, name))


def _check(name: str, split: str, limit: int) -> None:
    errors = {}
    if not is_name(name):
        errors["hub"] = "Enter the dataset’s name on the hub: owner/name, or owner/name:config."
    if not SPLIT.fullmatch(split):
        errors["split"] = "Enter the name of one split, such as train."
    if not 1 <= limit <= MOST_ROWS:
        errors["rows"] = f"Enter a number of rows from 1 to {MOST_ROWS:,}."
    if errors:
        raise Refused(400, **errors)


def _environment(folder: str) -> dict[str, str]:
    """Return what the process may know: the way to the hub, and nothing of the operator's. What it caches goes with its
    folder."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    quiet = dict.fromkeys(_SWITCHED_OFF, "1")
    return {**passed, **quiet, "HOME": folder, "HF_HOME": folder, "PYTHONPATH": str(settings.BASE_DIR)}


def _problem_of(done: subprocess.CompletedProcess[str], name: str) -> str:
    try:
        return str(json.loads(done.stdout.splitlines()[-1])["problem"])
    except (IndexError, ValueError, KeyError, TypeError):
        log.error("hub: %s could not be read: %s", name, done.stderr[-2000:])
        return f"{name} cannot be read from the hub; the site’s log says why."
