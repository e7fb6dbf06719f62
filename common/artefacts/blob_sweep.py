"""Delete the blobs of a storage that no manifest names, in two rounds that are days apart.

1. A round reads every manifest and lists, in `sweep/condemned.json`, the old blobs that none of them names.
2. A later round deletes what has been on that list for SAFE_AGE and is still named by no manifest.

Halves of objects whose writer was killed go after SAFE_AGE, too: in a folder they stand beside the objects.

Whoever stores an artefact reads the list first: a blob that is on it counts as not there, and the file goes to the
artefact's own pool instead. So nobody begins to rely on a blob that is about to go. Who relied on it before it was
listed has written a manifest, which the later round reads, long before: `put` begins anew when it took LONGEST_PUT.
Times are the storage's own; a round that takes too long by this host's clock stops before it deletes or lists.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.artefacts import condemned_blobs
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import NotStored

SAFE_AGE = timedelta(days=3)
EVERY = timedelta(days=1)
_BEGUN, _CLOCK = "sweep/begun", "sweep/clock"
_FOLDERS = ("blobs", "own", "manifests")
_LONGEST_ROUND = 3600.0
_LONGEST_LOOK = 5.0  # from the look at the last round until this one is announced
_CONFIRM_SECONDS = 10.0  # in which another one that begins at the same moment announces itself, too
_AT_ONCE = 20_000  # blobs on the list


class TooSlow(Exception):
    """Raised when a round has taken so long that what it has read may no longer hold."""

    def __init__(self) -> None:
        super().__init__("the round took too long")


@dataclass(frozen=True)
class Swept:
    deleted: int
    condemned: int  # on the list now


def sweep(store: ArtefactStore, *, sleep: Callable[[float], None] = time.sleep) -> Swept | None:
    """Carry out one round; None where the last one is younger than a day, or another host has just begun. Raises
    StorageProblem and TooSlow, and then the rest waits for the next round."""
    files, started = store.files, condemned_blobs.clock()

    def require_time() -> None:
        if condemned_blobs.clock() - started > _LONGEST_ROUND:
            raise TooSlow

    now = _begin(files, sleep)
    if now is None:
        return None
    listed, named = condemned_blobs.condemned(files), _named(store)
    if not named:  # a storage that shows no manifest is more likely ill than empty
        return None
    deleted = set()
    for blob, since in listed.items():
        if blob in named or now - datetime.fromisoformat(since) < SAFE_AGE:
            continue
        require_time()
        if _is_older(files, blob, datetime.fromisoformat(since)):  # else somebody wrote it anew
            files.delete(blob)
        deleted.add(blob)
    kept = {blob: since for blob, since in listed.items() if blob not in named and blob not in deleted}
    for blob in files.names("blobs"):
        if len(kept) >= _AT_ONCE:
            break
        if blob not in named and blob not in kept and _is_older(files, blob, now - SAFE_AGE):
            kept[blob] = now.isoformat()
    delete_partials(files, now)
    require_time()
    files.write(condemned_blobs.CONDEMNED, lambda: iter([json.dumps(kept).encode()]))
    return Swept(len(deleted), len(kept))


def delete_partials(files: FileSystem, now: datetime) -> None:
    """Delete what writers that were killed have left beside objects."""
    for folder in _FOLDERS:
        for name in files.partials(folder):
            if _is_older(files, name, now - SAFE_AGE):
                files.delete(name)


def _begin(files: FileSystem, sleep: Callable[[float], None]) -> datetime | None:
    """Announce this round; return the storage's time, None where it is not this one's turn."""
    token = uuid.uuid4().hex.encode()
    files.write(_CLOCK, lambda: iter([token]))
    looked, now = condemned_blobs.clock(), files.modified(_CLOCK)
    try:
        if now - files.modified(_BEGUN) < EVERY:
            return None
    except FileNotFoundError:
        pass
    files.write(_BEGUN, lambda: iter([token]))
    if condemned_blobs.clock() - looked > _LONGEST_LOOK:
        raise TooSlow
    sleep(_CONFIRM_SECONDS)
    return now if files.read(_BEGUN) == token else None


def _named(store: ArtefactStore) -> set[str]:
    """Return the blobs of all manifests. Raises Damaged for one that cannot be read: it may name any."""
    named = set()
    for name in store.names():
        try:
            named |= {entry.blob for entry in store.manifest(name).entries}
        except NotStored:
            continue  # deleted at this moment
    return named


def _is_older(files: FileSystem, blob: str, moment: datetime) -> bool:
    try:
        return files.modified(blob) < moment
    except FileNotFoundError:
        return False
