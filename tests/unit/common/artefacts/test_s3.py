"""The same against a real S3 server, by s3fs: put, fetch, refuse what was truncated, and wait while it is gone."""

from __future__ import annotations

import errno
import threading
import time
from datetime import timedelta

import pytest

from common.artefacts import blob_sweep, condemned_blobs
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import Damaged, Unreachable
from tests.support.s3_server import BUCKET, s3_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with s3_server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.variables.items():
            environment.setenv(name, value)
        yield server


def store(server, **options) -> ArtefactStore:
    return ArtefactStore(FileSystem(f"s3://{BUCKET}/site", skip_instance_cache=True, **options))


def test_what_is_put_comes_back_and_a_truncated_object_is_refused(server, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(bytes(range(256)) * 240_000)  # 61 MB: more than one part of an upload
    (model / "config.json").write_text("{}")
    (model / "empty").touch()
    entry = store(server).put("models/a", model).entry("weights.bin")
    store(server).fetch("models/a", tmp_path / "there" / "model")
    for path in model.iterdir():
        assert (tmp_path / "there" / "model" / path.name).read_bytes() == path.read_bytes()
    assert store(server).names("models") == ["models/a"] and store(server).verify("models/a").size == 61_440_002
    assert store(server).sizes("models") == {"models/a": {"": 61_440_002}}
    versions = store(server).files.versions("manifests")
    assert store(server).files.versions("manifests") == versions
    store(server).files.write("manifests/models/a.json", lambda: iter([store(server).manifest("models/a").to_bytes()]))
    assert store(server).files.versions("manifests") != versions, "it was written anew"
    store(server).files.write(entry.blob, lambda: iter([b"\0" * 100]))
    with pytest.raises(Damaged, match=r"weights.bin has 100 bytes where 61,440,000 were stored"):
        store(server).fetch("models/a", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    store(server).put("models/a", model)
    store(server).verify("models/a")


def test_an_upload_that_is_cut_off_leaves_nothing(server):
    def half():
        yield b"x" * 60_000_000  # a part is on its way
        raise KeyboardInterrupt

    files = store(server).files
    with pytest.raises(KeyboardInterrupt):
        files.write("blobs/aa/half", half)
    assert files.size_of("blobs/aa/half") is None


def test_a_storage_that_is_gone_is_waited_for_and_then_told(server, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    patient = store(server, patience=120)
    patient.put("imports/x", tmp_path / "file")
    server.kill()
    with pytest.raises(Unreachable, match=f"s3://{BUCKET}/site does not answer"):
        store(server, patience=0).manifest("imports/x")
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(patient.put("imports/x", tmp_path / "file")))
    began = time.monotonic()
    waiting.start()
    server.start()
    waiting.join(120)
    assert results, f"not stored {time.monotonic() - began:.0f} s after it was gone"
    store(server).fetch("imports/x", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 1000


def test_a_bucket_that_is_not_there_and_no_credentials_are_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unreachable, match="bucket"):
        ArtefactStore(FileSystem("s3://elsewhere/x", skip_instance_cache=True)).put("imports/x", tmp_path / "file")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Unreachable, match="credentials"):
        store(server).put("imports/x", tmp_path / "file")


def test_a_listing_that_fails_half_way_is_no_shorter_listing(server, tmp_path, monkeypatch):
    from s3fs import S3FileSystem

    (tmp_path / "file").write_text("x")
    for name in ("imports/1", "imports/2"):
        store(server).put(name, tmp_path / "file")
    call, pages = S3FileSystem._call_s3, []

    async def fail_at_the_second_page(self, method, *more, **words):
        if method == "list_objects_v2":
            pages.append(words)
            if "ContinuationToken" in words:
                raise OSError(errno.EIO, "the listing broke off")
            words["MaxKeys"] = 1
        return await call(self, method, *more, **words)

    monkeypatch.setattr(S3FileSystem, "_call_s3", fail_at_the_second_page)
    with pytest.raises(Unreachable, match="broke off"):
        store(server, patience=0).names("imports")
    assert len(pages) == 2


def test_a_blob_that_no_manifest_names_any_more_is_swept(server, tmp_path, monkeypatch):
    monkeypatch.setattr(blob_sweep, "SAFE_AGE", timedelta(0))
    monkeypatch.setattr(blob_sweep, "EVERY", timedelta(0))
    swept, folder = store(server), tmp_path / "swept"
    folder.mkdir()
    (folder / "file.txt").write_text("before")
    before = swept.put("models/swept", folder).entries[0].blob
    (folder / "file.txt").write_text("after")
    swept.put("models/swept", folder)
    time.sleep(1.1)  # the server counts whole seconds
    listed = blob_sweep.sweep(swept, sleep=lambda _: None)
    assert listed is not None and before in condemned_blobs.condemned(swept.files)
    deleted = blob_sweep.sweep(swept, sleep=lambda _: None)
    assert deleted is not None and deleted.deleted == listed.condemned
    assert swept.files.size_of(before) is None
    swept.verify("models/swept")
