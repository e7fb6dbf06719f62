"""Read the first rows of a dataset on the Hugging Face hub, streamed. Pure: no Django.

    python -m annotate.data.rows.hub_rows owner/name train 1000 rows.jsonl

writes them as JSON lines and says as JSON what came of it. Pages start it as a process of its own, in an empty folder:
they never load `datasets`, which would read a folder of that name before it asks the hub.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from annotate.data.rows.hub_opening import FolderInTheWay, open_stream
from annotate.data.rows.hub_tasks import KNOWN, HubTask, hub_task
from common.texts import first_line
from common.training_packages import PackageMissing, require_package

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?", re.ASCII)
SPLIT = re.compile(r"[\w.-]+", re.ASCII)
LARGEST = 100_000_000  # bytes that are written
_ANSWER_SECONDS = 10.0  # of a hub, to whether it has the dataset
_HUB = "https://huggingface.co"
_OFFLINE = ("1", "on", "yes", "true")
_INSTEAD = "Or download the dataset and send its files."


class HubProblem(Exception):
    """Nothing can be read, for a reason that a person can do something about."""


def is_name(name: str) -> bool:
    """Return whether this is owner/name, owner/name:config, or a name that is known here such as glue/sst2."""
    return name in KNOWN or (NAME.fullmatch(name) is not None and ".." not in name)


def stream(dataset: HubTask, split: str, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the first rows. Raises HubProblem for a name that is a folder here, and what `datasets` raises."""
    try:
        rows = open_stream(dataset.path, dataset.config, split)
    except FolderInTheWay as error:
        words = f"{dataset.path} is a folder of this machine, not a dataset on the hub; send its files."
        raise HubProblem(words) from error
    for row in rows.take(limit):
        yield dataset.flattened(dict(row))


def check_reachable(dataset: HubTask) -> None:
    """Ask the hub whether it has a public dataset of that name. Raises HubProblem, within seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _OFFLINE:
        raise HubProblem(f"This site is offline: HF_HUB_OFFLINE is set where it runs. {_INSTEAD}")
    hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    try:
        address = f"{hub}/api/datasets/{dataset.path}"
        answer = httpx.get(address, timeout=_ANSWER_SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        raise HubProblem(
            f"The hub {hub} cannot be reached from where this site runs ({first_line(error)}). {_INSTEAD}"
        ) from error
    if answer.status_code in (401, 403, 404):
        raise HubProblem(f"The hub has no public dataset {dataset.path}. Check its name. {_INSTEAD}")
    if answer.status_code != 200:
        raise HubProblem(f"The hub {hub} answered {answer.status_code} for {dataset.path}. Try again later.")


def write_rows(name: str, split: str, limit: int, path: Path) -> int:
    """Write the first rows to `path` as JSON lines and return how many. Raises HubProblem."""
    dataset = hub_task(name)
    check_reachable(dataset)
    try:
        require_package("datasets", "Reading from the hub")
    except PackageMissing as error:
        raise HubProblem(str(error)) from error
    n_rows = n_bytes = 0
    with path.open("w", encoding="utf-8") as file:
        for row in _rows(dataset, split, limit):
            line = json.dumps(row, ensure_ascii=False, default=str)
            n_rows, n_bytes = n_rows + 1, n_bytes + len(line)
            if n_bytes > LARGEST:
                raise HubProblem(f"{limit:,} rows of {name} are more than {LARGEST // 10**6} MB. Fetch fewer.")
            file.write(f"{line}\n")
    if not n_rows:
        raise HubProblem(f"The split {split} of {name} has no rows.")
    return n_rows


def _rows(dataset: HubTask, split: str, limit: int) -> Iterator[dict[str, Any]]:
    try:
        yield from stream(dataset, split, limit)
    except HubProblem:
        raise
    except ValueError as error:
        remedy = "Correct its config (owner/name:config) or its split."
        raise HubProblem(f"{dataset.path}: {first_line(error)} {remedy}") from error
    except Exception as error:  # a hub raises what it likes: a broken connection, a file that is no table
        raise HubProblem(f"{dataset.path} cannot be read: {first_line(error)}") from error


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m annotate.data.rows.hub_rows", description="Fetch rows of a hub.")
    parser.add_argument("name")
    parser.add_argument("split")
    parser.add_argument("limit", type=int)
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args(argv)
    try:
        n_rows = write_rows(arguments.name, arguments.split, arguments.limit, arguments.path)
    except HubProblem as problem:
        print(json.dumps({"problem": str(problem)}))
        return 1
    print(json.dumps({"rows": n_rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
