"""Blobs that no manifest names go after some days, and nothing goes that one names: whoever stores meanwhile."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.artefacts import blob_sweep, condemned_blobs
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.blob_sweep import SAFE_AGE, Swept
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import Damaged, Unreachable


class Storage(FileSystem):
    """A storage with a clock that a test sets, and what another process does before one of its objects is written."""

    def __init__(self, address: str) -> None:
        super().__init__(address, sleep=lambda _: None)
        self.now, self.times, self.before_write, self.before_delete = datetime(2026, 1, 1, tzinfo=UTC), {}, {}, {}

    def modified(self, name: str) -> datetime:
        if self.size_of(name) is None:
            raise FileNotFoundError(name)
        return self.times[name]

    def write(self, name, blocks):
        if meanwhile := self.before_write.pop(name, None):
            meanwhile()
        super().write(name, blocks)
        self.times[name] = self.now

    def delete(self, name):
        if meanwhile := self.before_delete.pop(name, None):
            meanwhile()
        super().delete(name)

    def sweep(self, days: float = 0) -> Swept | None:
        self.now += timedelta(days=days)
        return blob_sweep.sweep(ArtefactStore(self), sleep=lambda _: None)


@pytest.fixture
def storage(tmp_path) -> Storage:
    (tmp_path / "storage").mkdir()
    return Storage(str(tmp_path / "storage"))


def put(storage: Storage, name: str, text: str, tmp_path: Path) -> str:
    """Store an artefact of one file; return its blob."""
    folder = tmp_path / "here" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file.txt").write_text(text)
    return ArtefactStore(storage).put(name, folder).entries[0].blob


def assert_all_is_whole(storage: Storage) -> None:
    store = ArtefactStore(storage)
    for name in store.names():
        store.verify(name)


def test_what_no_manifest_names_goes_after_two_rounds(storage, tmp_path):
    old, new = put(storage, "runs/1", "before", tmp_path), put(storage, "runs/1", "after", tmp_path)
    other = put(storage, "runs/2", "another's", tmp_path)
    assert storage.sweep(days=1) == Swept(0, 0), "too young to be listed"
    assert storage.sweep(days=0.5) is None, "a day has not passed"
    assert storage.sweep(days=3) == Swept(0, 1) and storage.size_of(old), "listed"
    assert storage.sweep(days=2) == Swept(0, 1) and storage.size_of(old), "not for long enough"
    assert storage.sweep(days=1) == Swept(1, 0) and storage.size_of(old) is None
    assert storage.size_of(new) and storage.size_of(other)
    assert_all_is_whole(storage)


def test_who_stores_what_is_listed_does_not_rely_on_it(storage, tmp_path):
    blob = put(storage, "runs/1", "text", tmp_path)
    put(storage, "runs/1", "other", tmp_path)
    storage.sweep(days=4)
    storage.now += SAFE_AGE
    own = []
    storage.before_delete[blob] = lambda: own.append(put(storage, "runs/2", "text", tmp_path))  # at the last moment
    assert storage.sweep(days=1) == Swept(1, 0)
    assert own[0].startswith("own/runs/2/") and storage.size_of(blob) is None
    assert_all_is_whole(storage)
    assert put(storage, "runs/2", "text", tmp_path) == blob and storage.size_of(own[0]) is None, "shared again"


def test_who_relied_on_it_before_it_was_listed_keeps_it(storage, tmp_path):
    blob = put(storage, "runs/1", "text", tmp_path)
    put(storage, "runs/1", "other", tmp_path)
    storage.now += SAFE_AGE
    # The other one finds the blob, and writes its manifest after a round has read all others and made its list.
    storage.before_write["manifests/runs/2.json"] = lambda: storage.sweep(days=1)
    assert put(storage, "runs/2", "text", tmp_path) == blob
    assert blob in json.loads(storage.read(condemned_blobs.CONDEMNED))
    assert storage.sweep(days=4) == Swept(0, 0) and storage.size_of(blob)
    assert_all_is_whole(storage)


def test_a_put_that_took_too_long_looks_again(storage, tmp_path, monkeypatch):
    blob = put(storage, "runs/1", "text", tmp_path)
    put(storage, "runs/1", "other", tmp_path)
    times = iter([0.0, condemned_blobs.LONGEST_PUT + 1, 0.0, 1.0, 2.0])
    monkeypatch.setattr(condemned_blobs, "clock", lambda: next(times))
    looks = iter([{}, {blob: "since"}])
    monkeypatch.setattr(condemned_blobs, "condemned", lambda files: next(looks))
    assert put(storage, "runs/2", "text", tmp_path).startswith("own/"), "it was listed by the second look"


def test_a_manifest_that_cannot_be_read_may_name_any_blob(storage, tmp_path):
    put(storage, "runs/1", "text", tmp_path)
    put(storage, "runs/1", "other", tmp_path)
    storage.write("manifests/runs/2.json", lambda: iter([b"{"]))
    with pytest.raises(Damaged):
        storage.sweep(days=9)
    assert storage.size_of(condemned_blobs.CONDEMNED) is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_of_manifests_that_cannot_be_listed_may_name_any_blob(storage, tmp_path, monkeypatch, number):
    blob = put(storage, "models/1", "text", tmp_path)
    put(storage, "runs/1", "other", tmp_path)
    scandir, storage.patience = os.scandir, 0.0

    def fail_at_models(path):
        if str(path).endswith("manifests/models"):
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail_at_models)
    with pytest.raises(Unreachable):
        storage.sweep(days=9)
    assert storage.size_of(condemned_blobs.CONDEMNED) is None
    number = errno.ENOENT  # deleted at this moment
    assert ArtefactStore(storage).names() == ["runs/1"] and storage.size_of(blob)


def test_of_two_that_begin_at_once_one_goes_on_and_a_slow_one_does_not(storage, tmp_path, monkeypatch):
    blob = put(storage, "runs/1", "text", tmp_path)
    put(storage, "runs/1", "other", tmp_path)
    storage.now += SAFE_AGE * 2
    store = ArtefactStore(storage)
    announces = lambda _: storage.write("sweep/begun", lambda: iter([b"another"]))  # noqa: E731
    assert blob_sweep.sweep(store, sleep=announces) is None and storage.size_of(condemned_blobs.CONDEMNED) is None
    times = iter([0.0, 0.0, 0.0, 9999.0])
    monkeypatch.setattr(condemned_blobs, "clock", lambda: next(times))
    with pytest.raises(blob_sweep.TooSlow):
        storage.sweep(days=4)
    assert storage.size_of(condemned_blobs.CONDEMNED) is None and storage.size_of(blob)


def test_halves_of_objects_whose_writer_was_killed_go(storage, tmp_path):
    blob = put(storage, "runs/1", "text", tmp_path)
    left, coming = f"{blob}.1a.partial", f"{blob}.2b.partial"
    for name, age in ((left, timedelta()), (coming, timedelta(days=4))):
        (Path(storage.address) / name).write_text("te")
        storage.times[name] = storage.now + age
    assert storage.sweep(days=4) == Swept(0, 0)
    assert storage.partials("blobs") == [coming] and storage.names("blobs") == [blob]
